"""Garbage is collected: what `retention` lets go is taken off storage and out of Redis, resumably.

What each team has on storage is measured on the way (`storage`), before anything goes.

A file or folder is first renamed, all that goes at once; then every record is read again; what is still nobody's is
deleted, and what somebody took up meanwhile gets its name back. So whatever bears its own name is whole, a crash
leaves at most names that the next collection deals with, and whoever wants something that goes finds it missing at
submit. Not covered is a submit that looked before the renaming and stores its record after the second reading, some
milliseconds: that job fails, and says that the weights it was to begin from are not there.
"""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.audit import ServiceDid
from distill.contracts.base import Stored, digest_of_bytes, now
from distill.contracts.names import Kind
from services.control_plane.audit.log import AuditLog
from services.control_plane.audit.moving import Mover
from services.control_plane.guarded import guarded
from services.control_plane.inventory import aside, survey
from services.control_plane.reservations import Reservations
from services.control_plane.retention import Going, Known, KnownJob, KnownStudy, Plan, Policy, Sort, Thing, plan
from services.control_plane.storage import keep_storage, storage_by_team
from services.control_plane.store import Store
from services.control_plane.views import Collected, Removed

log = logging.getLogger(__name__)

Read = TypeVar("Read", bound=Stored)

EVERY_S = 3600
LOOK_S = 60.0
CHUNK = 3
"""Records that are read in one go, two milliseconds: a page of studies awaits Redis 25 times, and such a turn each time."""
KEPT_EVENTS = 1
"""The last one stays: it tells how it ended, and from its id a follower sees that something is missing before it."""


class Collector:
    """Plans and carries out; one at a time in this process, and harmless beside another one's."""

    def __init__(
        self, store: Store, redis: Redis, reservations: Reservations, *, storage: Path, policy: Policy
    ) -> None:
        self._store = store
        self._redis = redis
        self._reservations = reservations
        self._storage = storage
        self._policy = policy
        self._audit = AuditLog(redis, storage)
        self._mover = Mover(redis, storage, days=policy.audit)
        self._one_at_a_time = asyncio.Lock()

    async def collect(self, *, dry_run: bool) -> Collected:
        """Remove what may go, and say what that was; with ``dry_run`` say it, and change nothing at all.

        Raises:
            redis.RedisError: Redis doesn't answer.
            OSError: the storage doesn't answer.
            ValidationError: a record can't be read. Then nothing is removed: what it refers to is not known.
        """
        async with self._one_at_a_time:
            # first, as it needs no record: one that can't be read holds up nothing of it
            num_moved = await self._mover.move(now(), dry_run=dry_run)
            return (await self._collect(dry_run=dry_run)).model_copy(update={"audit_moved": num_moved})

    async def run(self, acts: Callable[[], Awaitable[bool]]) -> None:
        """Once an hour, of several control planes in the one that ``acts``; until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await guarded("collecting garbage", self._collect_if_due, acts)

    async def _collect_if_due(self, acts: Callable[[], Awaitable[bool]]) -> None:
        if await acts() and await self._redis.set(names.COLLECTED_KEY, now().isoformat(), nx=True, ex=EVERY_S):
            done = await self.collect(dry_run=False)
            if done.removed:
                log.info("garbage collected: %d things, %d bytes", len(done.removed), done.freed_bytes)

    async def _collect(self, *, dry_run: bool) -> Collected:
        # things before records: what is made between the two readings has an owner in the second
        looked_at = now()
        things = [*await asyncio.to_thread(survey, self._storage), *await self._streams()]
        known = await self._known()
        planned = await asyncio.to_thread(plan, known, things, self._policy, now())
        if dry_run:
            return _collected(planned.going, planned, dry_run=True)
        await keep_storage(self._redis, storage_by_team(known, things, at=looked_at), month=f"{looked_at:%Y-%m}")
        await self._remember(planned)
        files = [one.thing for one in planned.going if one.thing.sort is not Sort.EVENTS]
        left_over = [thing for thing in things if thing.is_aside]
        await asyncio.to_thread(_put_aside, self._storage, files)
        going = [one.thing for one in planned.going]
        still = (await asyncio.to_thread(plan, await self._known(), going, self._policy, now())).going
        spared = {*files, *left_over} - {one.thing for one in still}
        await asyncio.to_thread(_put_back, self._storage, sorted(spared, key=lambda thing: thing.where))
        await self._note(still)
        return _collected([one for one in still if await self._remove(one.thing)], planned, dry_run=False)

    async def _note(self, going: Sequence[Going]) -> None:
        """Write down that these are about to go."""
        if going:
            where = "\n".join(sorted(one.thing.where for one in going))
            details: dict[str, str | int] = {"things": len(going), "bytes": sum(one.thing.size_bytes for one in going),
                                             "which": digest_of_bytes(where.encode())}  # fmt: skip
            await self._audit.append(ServiceDid(at=now(), what="gc", details=details), though_full=True)

    async def _known(self) -> Known:
        jobs = {job.id: KnownJob.of(job) async for job in self._all("job", self._store.jobs)}
        studies = self._all("study", partial(self._store.studies, complete=True))
        reservations = await self._reservations.living()
        orphans = await self._redis.hgetall(names.ORPHANS_KEY)
        return Known(
            jobs=jobs,
            studies={study.id: KnownStudy.of(study) async for study in studies},
            teachers=await self._store.teachers(complete=True),
            reusable=await self._reusable({job.team for job in jobs.values()}),
            reserved=frozenset(one.teacher.digest for one in reservations),
            orphans={str(where): datetime.fromisoformat(str(since)) for where, since in orphans.items()},
        )

    async def _all(self, kind: Kind, read: Callable[[Sequence[str]], Awaitable[list[Read]]]) -> AsyncIterator[Read]:
        identities = [str(one) for one in await self._redis.zrange(names.index_key(kind), 0, -1)]
        for start in range(0, len(identities), CHUNK):
            for record in await read(identities[start : start + CHUNK]):
                yield record

    async def _reusable(self, teams: AbstractSet[str]) -> frozenset[str]:
        found = [await self._redis.hvals(names.baselines_key(team)) for team in sorted(teams)]
        return frozenset(str(job) for values in found for job in values)

    async def _streams(self) -> list[Thing]:
        found: list[Thing] = []
        kinds: tuple[Kind, ...] = ("job", "study")
        for kind in kinds:
            for identity in map(str, await self._redis.zrange(names.index_key(kind), 0, -1)):
                keys = [(names.events_key(kind, identity), KEPT_EVENTS)]
                keys += [(names.progress_key(identity), 0)] if kind == "job" else []
                found += [one for key, kept in keys if (one := await self._stream(key, kept, f"{kind}/{identity}"))]
        return found

    async def _stream(self, key: str, kept: int, owner: str) -> Thing | None:
        newest: Any = await self._redis.xrevrange(key, count=kept + 1)
        if len(newest) <= kept:
            return None
        changed_at = datetime.fromtimestamp(int(newest[0][0].split("-")[0]) / 1000, UTC)
        size_bytes = int(await self._redis.memory_usage(key) or 0)
        return Thing(sort=Sort.EVENTS, where=key, owner=owner, size_bytes=size_bytes, changed_at=changed_at)

    async def _remember(self, planned: Plan) -> None:
        # those that go now stay written down: they may be spared, or the collection may break off
        orphans: dict[Any, Any] = {where: since.isoformat() for where, since in planned.orphans.items()}
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(names.ORPHANS_KEY)
            if orphans:
                pipe.hset(names.ORPHANS_KEY, mapping=orphans)
            await pipe.execute()

    async def _remove(self, thing: Thing) -> bool:
        if thing.sort is Sort.EVENTS:
            kept = KEPT_EVENTS if thing.where.endswith(":events") else 0
            await self._redis.xtrim(thing.where, maxlen=kept, approximate=False)
            return True
        return await asyncio.to_thread(_delete, self._storage, thing)


def _put_aside(storage: Path, things: Sequence[Thing]) -> None:
    for thing in things:
        path = storage / thing.where
        if not thing.is_aside and path.exists() and not aside(path).exists():
            path.rename(aside(path))


def _put_back(storage: Path, things: Sequence[Thing]) -> None:
    for thing in things:
        path = storage / thing.where
        if aside(path).exists() and not path.exists():
            aside(path).rename(path)
            log.info("%s is needed again, and stays", thing.where)


def _delete(storage: Path, thing: Thing) -> bool:
    """Whether it is gone now; what can't be deleted is logged, and the next collection's."""
    path = aside(storage / thing.where)
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s can't be deleted: %s", path, error)
        return False
    return True


def _collected(gone: Sequence[Going], planned: Plan, *, dry_run: bool) -> Collected:
    removed = [
        Removed(sort=one.thing.sort, where=one.thing.where, size_bytes=one.thing.size_bytes, why=one.why)
        for one in gone
    ]
    names_gone = {one.where for one in removed}
    return Collected(
        dry_run=dry_run,
        removed=removed,
        freed_bytes=sum(one.size_bytes for one in removed),
        orphans={where: since for where, since in planned.orphans.items() if where not in names_gone},
    )
