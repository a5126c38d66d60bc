"""Records in Redis: read them, make them, and apply what their inboxes hold. Nothing else writes a record."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import ValidationError
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import Stored
from distill.contracts.errors import Conflict, NotFound
from distill.contracts.events import Event
from distill.contracts.facts import FACT, BaselinesReused, Fact, JobCreated
from distill.contracts.names import Kind
from distill.contracts.records import JobRecord, JobState, StudyRecord, Wish
from distill.contracts.teachers import TeacherRecord
from services.control_plane import scripts
from services.control_plane.held import Addition, additions_of
from services.control_plane.life import apply_fact
from services.control_plane.lists import identity_of, lists_of, place_of
from services.control_plane.migrations import bring_up_to_date
from services.control_plane.once import KEPT_MS, UNKEPT, Kept, in_progress
from services.control_plane.registry import apply_study_fact, apply_teacher_fact

log = logging.getLogger(__name__)

Record = JobRecord | StudyRecord | TeacherRecord
Read = TypeVar("Read", bound=Stored)


class MadeInVain(Exception):
    """Records that can't be stored as they are, and made again would be others: an identity is taken, a baseline gone."""


class Store:
    """The control plane's only way to records."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._create = redis.register_script(scripts.CREATE)
        self._apply = redis.register_script(scripts.APPLY)

    async def check_schema(self) -> None:
        """Mark a new Redis with our schema version, bring an older one forward, refuse a newer one.

        Raises:
            Conflict: a newer Stillhouse has written what is there, or a restore was not finished.
        """
        await bring_up_to_date(self._redis)

    async def job(self, identity: str) -> JobRecord:
        """The job's record. Raises NotFound."""
        return JobRecord.model_validate_json(await self._read("job", identity))

    async def study(self, identity: str) -> StudyRecord:
        """The study's record. Raises NotFound."""
        return StudyRecord.model_validate_json(await self._read("study", identity))

    async def teacher(self, name: str) -> TeacherRecord:
        """The teacher's record. Raises NotFound."""
        return TeacherRecord.model_validate_json(await self._read("teacher", name))

    async def jobs(self, identities: Sequence[str]) -> list[JobRecord]:
        """The jobs' records, in order; those that are gone are left out."""
        return [JobRecord.model_validate_json(text) for text in await self.texts("job", identities)]

    async def children(self, study: StudyRecord) -> dict[str, JobRecord]:
        """Key -> record of each of the study's jobs."""
        found = {job.id: job for job in await self.jobs(list(study.jobs.values()))}
        return {key: found[job] for key, job in study.jobs.items() if job in found}

    async def studies(self, identities: Sequence[str], *, complete: bool = False) -> list[StudyRecord]:
        """The studies' records, in order; those that are gone are left out.

        One that can't be read is logged and left out too, so that it holds up no other: unless the list is to be
        ``complete``, for who must know all that refers to something; then it raises ValidationError.
        """
        found = await self.stored("study", identities)
        return list(_all_of(StudyRecord, found) if complete else _readable(StudyRecord, found))

    async def texts(self, kind: Kind, identities: Sequence[str]) -> list[str]:
        """The records' JSON as it is stored, in order; those that are gone are left out."""
        return list((await self.stored(kind, identities)).values())

    async def teachers(self, *, complete: bool = False) -> list[TeacherRecord]:
        """Every teacher; of those that can't be read as `studies`."""
        identities = [str(one) for one in await self._redis.zrange(names.index_key("teacher"), 0, -1)]
        found = await self.stored("teacher", identities)
        return list(_all_of(TeacherRecord, found) if complete else _readable(TeacherRecord, found))

    async def teachers_named(self, identities: Sequence[str]) -> list[TeacherRecord]:
        """The teachers' records, in order; those that are not there, or can't be read, are left out."""
        return list(_readable(TeacherRecord, await self.stored("teacher", identities)))

    async def active(self, kind: Kind) -> list[str]:
        """Identities whose records still need care, sorted."""
        return sorted(str(one) for one in await self._redis.smembers(names.active_key(kind)))

    async def reusable(self, team: str, digest: str) -> JobRecord | None:
        """A job of the team with this ``reuse_digest`` that has left its student, or still may."""
        identity = await self._redis.hget(names.baselines_key(team), digest)
        found = await self.jobs([str(identity)]) if identity else []
        is_there = [job for job in found if job.state is JobState.SUCCEEDED or _may_succeed(job)]
        return is_there[0] if is_there else None

    async def create_jobs(
        self, jobs: Sequence[JobRecord], study: StudyRecord | None = None, *, answer: Kept = UNKEPT
    ) -> None:
        """Make the jobs, and the study that owns them, in one step; the study's other jobs are there already.

        Raises:
            MadeInVain: one of the identities exists, or a job that the study was to reuse is deleted at this very moment.
            InProgress: the request was thought dead, and another one with its key has taken its place.
        """
        keys: list[str] = []
        args: list[str | float] = []
        if study is not None:
            keys += [*_record_keys("study", study.id), names.events_key("study", study.id), "", "", ""]
            args += [study.model_dump_json(), study.created_at.timestamp(), study.id, _reuses(study, jobs), "", ""]
        for job in jobs:
            event = _event_of(job, JobCreated(at=job.created_at))
            group = names.events_key("study", job.study) if job.study else ""
            keys += [*_record_keys("job", job.id), names.events_key("job", job.id), group, names.directive_key(job.id)]
            keys.append(names.baselines_key(job.team) if job.reuse_digest else "")
            args += [
                job.model_dump_json(),
                job.created_at.timestamp(),
                job.id,
                event.model_dump_json(),
                job.directive().model_dump_json(),
                job.reuse_digest or "",
            ]
        records: list[JobRecord | StudyRecord] = [*([study] if study else []), *jobs]
        lists = [(key, place_of(record)) for record in records for key in lists_of(record)]
        needed = [names.record_key("job", job) for job in reused_by(study, jobs).values()] if study else []
        if not await self._make(answer, keys, args, lists, needed):
            raise MadeInVain(f"{' or '.join(record.id for record in records)} exists already")

    async def create_teacher(self, teacher: TeacherRecord, *, answer: Kept = UNKEPT) -> None:
        """Make a teacher without versions.

        Raises:
            Conflict: the name is taken.
            InProgress: as `create_jobs`.
        """
        keys = [*_record_keys("teacher", teacher.name), names.events_key("teacher", teacher.name), "", "", ""]
        args: list[str | float] = [teacher.model_dump_json(), teacher.created_at.timestamp(), teacher.name, "", "", ""]
        lists = [(key, place_of(teacher)) for key in lists_of(teacher)]
        if not await self._make(answer, keys, args, lists):
            raise Conflict(
                f"a teacher named {teacher.name} exists already; publish a new version of it, if it is your team's",
                field="name",
                got=teacher.name,
            )

    async def append(self, kind: Kind, identity: str, fact: Fact, *, answer: Kept = UNKEPT) -> None:
        """Put a fact of ours into the inbox, and apply what waits there; whoever applies it keeps the answer too."""
        entry: Any = {"fact": fact.model_dump_json()}
        if answer.key:
            entry["answer"] = answer.model_dump_json()
        await self._redis.xadd(names.inbox_key(kind, identity), entry)
        await self.apply_pending(kind, identity)

    async def apply_pending(self, kind: Kind, identity: str) -> int:
        """Apply every fact that waits now, in order; returns how many changed the record. Safe beside other appliers.

        What comes meanwhile waits for the next call, so that nobody who says much holds up the others.
        """
        changed, inbox, newest = 0, names.inbox_key(kind, identity), "+"
        while True:
            entries: Any = await self._redis.xrange(inbox, max=newest, count=1)
            if not entries:
                return changed
            stored = await self._redis.get(names.record_key(kind, identity))
            if stored is None:  # a worker of a job that is deleted: it stops as soon as it looks
                await self._redis.delete(inbox, names.progress_key(identity))
                return changed
            if newest == "+":
                last: Any = await self._redis.xrevrange(inbox, count=1)
                newest = last[0][0] if last else entries[0][0]
            changed += await self._apply_entry(kind, _parse(kind, str(stored)), *entries[0])

    async def _make(
        self,
        answer: Kept,
        keys: Sequence[str],
        args: Sequence[str | float],
        lists: Sequence[tuple[str, str]],
        needed: Sequence[str] = (),
    ) -> bool:
        """Whether all are made now; False where one exists already."""
        fence: list[str | int] = [answer.token, answer.model_dump_json() if answer.key else "", KEPT_MS]
        made = await self._create(
            keys=[answer.key, *keys, *(key for key, _ in lists), *needed],
            args=[*fence, len(keys) // 7, *args, *(place for _, place in lists)],
        )
        if made == -1:
            raise in_progress()
        if made == -2:
            raise MadeInVain("a job that was to be reused is deleted at this very moment")
        return bool(made)

    async def _apply_entry(self, kind: Kind, record: Record, entry: str, fields: dict[str, str]) -> int:
        fact = _read_fact(kind, fields)
        applied = record if fact is None else _after(record, fact)
        changed = applied is not record
        new: Record = applied.model_copy(update={"applied_id": entry, "revision": record.revision + int(changed)})
        identity = identity_of(record)
        group = names.events_key("study", new.study) if isinstance(new, JobRecord) and new.study else ""
        answer = Kept.model_validate_json(fields["answer"]) if "answer" in fields else UNKEPT
        left, entered = _lists_between(record, new) if changed else ([], [])
        usage = _usage_between(record, new, entry) if changed else []
        keys = [
            names.record_key(kind, identity),
            names.inbox_key(kind, identity),
            names.events_key(kind, identity),
            group,
            names.active_key(kind),
            names.directive_key(identity) if isinstance(new, JobRecord) else "",
            answer.key,
            names.WEBHOOKS_KEY if changed and _is_to_be_told(new) else "",
            *left,
            *entered,
            *(key for key, _, _ in usage),
        ]
        args = [
            record.applied_id,
            entry,
            new.model_dump_json(),
            _event_of(new, fact).model_dump_json() if changed and fact else "",
            identity,
            "1" if _needs_no_care(new) else "0",
            new.directive().model_dump_json() if isinstance(new, JobRecord) else "",
            place_of(new),
            answer.token,
            fields.get("answer", ""),
            KEPT_MS,
            f"{kind}:{identity}",
            new.updated_at.timestamp(),
            len(left),
            len(entered),
            *(part for _, field, amount in usage for part in (field, amount)),
        ]
        return int(changed) if await self._apply(keys=keys, args=args) == 1 else 0

    async def _read(self, kind: Kind, identity: str) -> str:
        stored = await self._redis.get(names.record_key(kind, identity))
        if stored is None:
            raise no_such(kind, identity)
        return str(stored)

    async def with_inbox(self, kind: Kind, identities: Sequence[str]) -> list[str]:
        """Of these, those in whose inbox something waits."""
        async with self._redis.pipeline(transaction=False) as together:
            for identity in identities:
                together.xlen(names.inbox_key(kind, identity))
            lengths = await together.execute() if identities else []
        return [identity for identity, length in zip(identities, lengths, strict=True) if length]

    async def stored(self, kind: Kind, identities: Sequence[str]) -> dict[str, str]:
        """Identity -> the record's JSON, in order; those that are gone are left out."""
        if not identities:
            return {}
        found = await self._redis.mget([names.record_key(kind, identity) for identity in identities])
        return {one: str(text) for one, text in zip(identities, found, strict=True) if text is not None}


def no_such(kind: Kind, identity: str) -> NotFound:
    """What is said of a thing that isn't there, and of one that is another team's."""
    return NotFound(f"there is no {kind} named {identity!r}")


async def read_streams(
    redis: Redis, cursors: Mapping[str, str], *, block_ms: int | None
) -> list[tuple[str, str, dict[str, str]]]:
    """(stream, entry id, fields) of what came after the cursors; waits up to ``block_ms`` for something."""
    streams: dict[Any, Any] = dict(cursors)
    found: Any = await redis.xread(streams, count=500, block=block_ms)
    return [(stream, entry, fields) for stream, entries in found for entry, fields in entries]


def apply_to(record: Record, fact: Any) -> Record:
    """The record after ``fact``, whatever its kind; the same record if the fact is stale or not its own."""
    match record:
        case JobRecord():
            return apply_fact(record, fact)
        case TeacherRecord():
            return apply_teacher_fact(record, fact)
        case StudyRecord():
            return apply_study_fact(record, fact)


def _read_fact(kind: Kind, fields: dict[str, str]) -> Fact | None:
    try:
        return FACT.validate_json(fields["fact"])
    except (KeyError, ValueError):
        log.exception("a %s's inbox holds something that is no fact; it is passed over: %.500r", kind, fields)
        return None


def _after(record: Record, fact: Fact) -> Record:
    try:
        return apply_to(record, fact)
    except Exception:  # a bug of ours: what waits behind this fact, and whoever says more, must not pay for it
        log.exception("a fact can't be applied; it is passed over: %.500r", fact)
        return record


def _parse(kind: Kind, stored: str) -> Record:
    types: dict[Kind, type[Stored]] = {"job": JobRecord, "study": StudyRecord, "teacher": TeacherRecord}
    return types[kind].model_validate_json(stored)  # type: ignore[return-value]  # the three types above are Record


def _all_of(kind: type[Read], stored: Mapping[str, str]) -> Iterator[Read]:
    return (kind.model_validate_json(text) for text in stored.values())


def _readable(kind: type[Read], stored: Mapping[str, str]) -> Iterator[Read]:
    for identity, text in stored.items():
        try:
            yield kind.model_validate_json(text)
        except ValidationError:
            log.exception("the record of %s can't be read; it is passed over", identity)


def _event_of(record: Record, fact: Fact) -> Event:
    if not isinstance(record, JobRecord):
        return Event(fact=fact, revision=record.revision)
    return Event(
        fact=fact, job=record.id, role=record.role, state=record.state, reason=record.reason,
        attempt=record.attempt, revision=record.revision,
    )  # fmt: skip


def _lists_between(before: Record, after: Record) -> tuple[list[str], list[str]]:
    """The lists that the record leaves, and those that it enters."""
    was_in, is_in = lists_of(before), lists_of(after)
    return [one for one in was_in if one not in is_in], [one for one in is_in if one not in was_in]


def _usage_between(before: Record, after: Record, entry: str) -> list[Addition]:
    if not isinstance(before, JobRecord) or not isinstance(after, JobRecord):
        return []
    heard_at = datetime.fromtimestamp(int(entry.partition("-")[0]) / 1000, UTC)  # by Redis, as it took the fact in
    return additions_of(before, after, heard_at=heard_at)


def _needs_no_care(record: Record) -> bool:
    if isinstance(record, JobRecord):
        return record.state.is_final
    return isinstance(record, StudyRecord) and record.report is not None


def _is_to_be_told(record: Record) -> bool:
    return not isinstance(record, TeacherRecord) and record.spec.notify is not None and _needs_no_care(record)


def _may_succeed(job: JobRecord) -> bool:
    return not job.state.is_final and job.wish is Wish.RUN


def _reuses(study: StudyRecord, jobs: Sequence[JobRecord]) -> str:
    """The event that tells which of the study's jobs are not among the new ones; empty if all are."""
    reused = reused_by(study, jobs)
    if not reused:
        return ""
    return _event_of(study, BaselinesReused(jobs=reused, at=study.created_at)).model_dump_json()


def reused_by(study: StudyRecord, jobs: Sequence[JobRecord]) -> dict[str, str]:
    made = {job.id for job in jobs}
    return {key: job for key, job in study.jobs.items() if job not in made}


def _record_keys(kind: Kind, identity: str) -> list[str]:
    return [names.record_key(kind, identity), names.index_key(kind), names.active_key(kind)]
