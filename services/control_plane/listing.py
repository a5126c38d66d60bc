"""Pages of jobs and studies, newest first: each at most once, and none of those that were there left out."""

import logging
from collections.abc import Awaitable, Callable, Sequence

from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.names import Kind
from distill.contracts.records import StudyRecord
from services.control_plane import scripts
from services.control_plane.heads import Shown, StoredJob, StudyHead, read_jobs, view_of_study
from services.control_plane.lists import (
    Wanted,
    decode_cursor,
    encode_cursor,
    identity_at,
    identity_of,
    lists_of,
    place_of,
    state_lists,
)
from services.control_plane.store import Record, Store
from services.control_plane.views import study_state

log = logging.getLogger(__name__)

LISTS_VERSION = "2"
"""Of what `lists_of` says: another one makes every list anew at the next start."""
AT_ONCE = 1000
"""Places of one list that are looked for in the others, in one go."""
MAX_STEPS = 20
MAX_RECORDS = 500
"""A page ends when so much was looked at, however few it holds: `next` goes on from there."""
STUDIES_AT_ONCE = 8

Found = tuple[list[tuple[str, Shown]], int]
"""What was wanted of some places, with its place, and how many records were read for it."""


class Listing:
    """Reads lists that `Store` keeps in the same step as the records; makes them for records of before."""

    def __init__(self, store: Store, redis: Redis) -> None:
        self._store = store
        self._redis = redis
        self._list = redis.register_script(scripts.LIST)

    async def jobs(self, wanted: Wanted, *, limit: int, cursor: str | None) -> tuple[list[Shown], str | None]:
        """A page, and the cursor of the next one.

        Raises:
            InvalidSpec: the cursor is not one of ours.
        """
        return await self._page("job", wanted, self._load_jobs, limit=limit, cursor=cursor, at_once=limit + 1)

    async def jobs_of(
        self, study: StudyRecord, wanted: Wanted, *, limit: int, cursor: str | None
    ) -> tuple[list[Shown], str | None]:
        """The same of a study's jobs alone, with those of others that it reuses. Raises as `jobs`."""
        after = decode_cursor(cursor) if cursor else None
        found, _ = await self._load_jobs(list(study.jobs.values()), wanted)
        places = {place: job for place, job in found if after is None or place < after}
        shown = sorted(places, reverse=True)[:limit]
        return [places[place] for place in shown], encode_cursor(shown[-1]) if len(places) > len(shown) else None

    async def studies(self, wanted: Wanted, *, limit: int, cursor: str | None) -> tuple[list[Shown], str | None]:
        """A page, and the cursor of the next one. Raises as `jobs`."""
        return await self._page(
            "study", wanted, self._load_studies, limit=limit, cursor=cursor, at_once=STUDIES_AT_ONCE
        )

    async def make_lists(self) -> None:
        """Put every record into its lists, unless that was done before. Safe beside writers, and beside itself."""
        if await self._redis.get(names.LISTED_KEY) == LISTS_VERSION:
            return
        kinds: tuple[Kind, ...] = ("job", "study", "teacher")
        for kind in kinds:
            identities = [str(one) for one in await self._redis.zrange(names.index_key(kind), 0, -1)]
            for first in range(0, len(identities), AT_ONCE):
                await self._make_lists_of(kind, identities[first : first + AT_ONCE])
        await self._redis.set(names.LISTED_KEY, LISTS_VERSION)

    async def _make_lists_of(self, kind: Kind, identities: Sequence[str]) -> None:
        """Whoever changes a record meanwhile moves it in its lists too, so it is read again then."""
        left = identities
        while left:
            records = await self._readable(kind, left)
            async with self._redis.pipeline(transaction=False) as asking:
                for record in records:
                    within = lists_of(record)
                    others = sorted(set(state_lists(record.team)) - set(within)) if kind == "job" else []
                    await self._list(
                        keys=[names.record_key(kind, identity_of(record)), *within, *others],
                        args=[record.revision, place_of(record), len(within)],
                        client=asking,
                    )
                listed = await asking.execute()
            left = [identity_of(record) for record, is_listed in zip(records, listed, strict=True) if not is_listed]

    async def _readable(self, kind: Kind, identities: Sequence[str]) -> Sequence[Record]:
        read: dict[Kind, Callable[[Sequence[str]], Awaitable[Sequence[Record]]]] = {
            "job": self._store.jobs, "study": self._store.studies, "teacher": self._store.teachers_named,
        }  # fmt: skip
        try:
            return await read[kind](identities)
        except ValueError:
            if len(identities) == 1:
                log.exception("the record of %s %s can't be read; it is in no list", kind, identities[0])
                return []
        return [record for identity in identities for record in await self._readable(kind, [identity])]

    async def _page(
        self,
        kind: Kind,
        wanted: Wanted,
        load: Callable[[Sequence[str], Wanted], Awaitable[Found]],
        *,
        limit: int,
        cursor: str | None,
        at_once: int,
    ) -> tuple[list[Shown], str | None]:
        kept: list[tuple[str, Shown]] = []
        after = decode_cursor(cursor) if cursor else None
        lists = await self._shortest_first(wanted.lists(kind))
        num_read = 0
        for _ in range(MAX_STEPS):
            at_most = min(at_once, limit + 1 - len(kept))
            places, after = await self._next_places(lists, wanted.bounds(after), at_most=at_most)
            found, count = await load([identity_at(place) for place in places], wanted)
            kept, num_read = kept + found, num_read + count
            if len(kept) > limit:
                return [item for _, item in kept[:limit]], encode_cursor(kept[limit - 1][0])
            if after is None or num_read >= MAX_RECORDS:
                break
        return [item for _, item in kept], encode_cursor(after) if after else None

    async def _next_places(
        self, lists: Sequence[str], bounds: tuple[str, str], *, at_most: int
    ) -> tuple[list[str], str | None]:
        """The next places that are in all lists, and the last one looked at; None where there are no more."""
        first, *others = lists
        count = AT_ONCE if others else at_most
        places = [str(one) for one in await self._redis.zrevrangebylex(first, *bounds, start=0, num=count)]
        last = places[-1] if len(places) == count else None
        if others and places:
            async with self._redis.pipeline(transaction=False) as asking:
                for other in others:
                    asking.zmscore(other, places)
                scores = await asking.execute()
            there = zip(places, *scores, strict=True)
            places = [place for place, *in_each in there if all(score is not None for score in in_each)]
        return (places, last) if len(places) <= at_most else (places[:at_most], places[at_most - 1])

    async def _shortest_first(self, lists: Sequence[str]) -> list[str]:
        if len(lists) == 1:
            return list(lists)
        async with self._redis.pipeline(transaction=False) as asking:
            for one in lists:
                asking.zcard(one)
            lengths = dict(zip(lists, await asking.execute(), strict=True))
        return sorted(lists, key=lengths.__getitem__)

    async def _load_jobs(self, identities: Sequence[str], wanted: Wanted) -> Found:
        """A job may have changed its state since its list was read: then it is left out."""
        jobs = await self._jobs(identities)
        found = [(place_of(job.head), job.shown) for job in jobs if wanted.matches(job.head, job.head.state)]
        return found, len(jobs)

    async def _load_studies(self, identities: Sequence[str], wanted: Wanted) -> Found:
        texts = await self._store.texts("study", identities)
        studies = [StudyHead.model_validate_json(text) for text in texts]
        wanted_jobs = {job for study in studies for job in study.jobs.values()}
        jobs = {job.head.id: job for job in await self._jobs(sorted(wanted_jobs))}
        found = []
        for study, text in zip(studies, texts, strict=True):
            children = {key: jobs[job] for key, job in study.jobs.items() if job in jobs}
            if not children:  # deleted, with its jobs, since its own record was read
                continue
            state = study_state({key: job.head for key, job in children.items()})
            if wanted.matches(study, state):
                found.append((place_of(study), view_of_study(study, text, state, children)))
        return found, len(studies) + len(jobs)

    async def _jobs(self, identities: Sequence[str]) -> list[StoredJob]:
        return read_jobs(await self._store.texts("job", identities))
