"""Jobs and studies that are deleted: out of Redis in one step, out of storage after it, however often that breaks off."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import Conflict
from distill.contracts.records import JobRecord, StudyRecord
from distill.contracts.teachers import TeacherRecord, TeacherVersionState
from services.control_plane.guarded import guarded
from services.control_plane.lists import lists_of, place_of
from services.control_plane.ray_rest import Driver
from services.control_plane.registry import weights_of
from services.control_plane.store import Store

TRIES = 3
REPORT_PATIENCE_S = 600
"""A report that isn't there so long after its study's end can't be written, and keeps the study from nobody's hands."""
DELETE = """
-- Forget records that belong together: all, or none where one has changed since it was looked at.
-- What still has files is remembered until they are gone.
-- KEYS: deleted; then for each record 4 keys: record, index, active, baselines ('' if none)
-- ARGV: for each record 7 values: applied_id, identity, its entry in deleted, reuse digest, its other keys as JSON, its
--       place, the lists that hold it as JSON
local count = #ARGV / 7
for i = 0, count - 1 do
  local stored = redis.call('GET', KEYS[i * 4 + 2])
  if not stored or cjson.decode(stored).applied_id ~= ARGV[i * 7 + 1] then return 0 end
end
for i = 0, count - 1 do
  local record, index, active, baselines = KEYS[i * 4 + 2], KEYS[i * 4 + 3], KEYS[i * 4 + 4], KEYS[i * 4 + 5]
  local identity, digest = ARGV[i * 7 + 2], ARGV[i * 7 + 4]
  redis.call('DEL', record)  -- first, as it needs no memory: then a Redis that has none left takes what follows too
  redis.call('SADD', KEYS[1], ARGV[i * 7 + 3])
  redis.call('ZREM', index, identity)
  redis.call('SREM', active, identity)
  if baselines ~= '' and redis.call('HGET', baselines, digest) == identity then
    redis.call('HDEL', baselines, digest)
  end
  for _, key in ipairs(cjson.decode(ARGV[i * 7 + 5])) do redis.call('DEL', key) end
  for _, list in ipairs(cjson.decode(ARGV[i * 7 + 7])) do redis.call('ZREM', list, ARGV[i * 7 + 6]) end
end
return 1
"""


Drivers = Callable[[], Awaitable[Sequence[Driver]]]


async def nothing_runs() -> Sequence[Driver]:
    """There is no cluster."""
    return ()


class Deletion:
    """Deletes what has ended and what nothing refers to."""

    def __init__(self, store: Store, redis: Redis, *, drivers: Drivers = nothing_runs) -> None:
        """``drivers`` says what runs attempts; only `sweep` asks it."""
        self._store = store
        self._redis = redis
        self._drivers = drivers
        self._delete = redis.register_script(DELETE)

    async def job(self, identity: str) -> None:
        """Delete a job with all that it left.

        Raises:
            NotFound: there is none.
            Conflict: it has not ended, or something refers to it.
        """
        await self._until_unchanged(self._try_job, identity)

    async def study(self, identity: str) -> None:
        """Delete a study with its own jobs; baselines of other studies that it reuses stay. Raises as `job`."""
        await self._until_unchanged(self._try_study, identity)

    async def sweep(self, storage: Path) -> None:
        """Remove the files of what is deleted; what breaks off holds up nothing else, and is gone on with the next time.

        A job's stay for as long as a driver of it is there, which may still write: `strays` stops it.

        Raises:
            DependencyDown: Ray doesn't say what runs.
        """
        entries = sorted(str(one) for one in await self._redis.smembers(names.DELETED_KEY))
        driven = {f"job/{driver.job}" for driver in await self._drivers()} if entries else set()
        for entry in entries:
            if entry not in driven:
                await guarded(f"removing the files of {entry}", self._remove_files_of, entry, storage)

    async def jobs_with_files(self) -> list[str]:
        """The deleted jobs whose files are not yet gone."""
        entries = [str(one).partition("/") for one in await self._redis.smembers(names.DELETED_KEY)]
        return [identity for kind, _, identity in entries if kind == "job"]

    async def _remove_files_of(self, entry: str, storage: Path) -> None:
        await asyncio.to_thread(_remove_files, storage, entry)
        await self._redis.srem(names.DELETED_KEY, entry)

    async def _until_unchanged(self, try_it: Callable[[str], Awaitable[bool]], identity: str) -> None:
        for _ in range(TRIES):
            if await try_it(identity):
                return
        raise Conflict(f"{identity} changes at this very moment, and nothing was deleted; look, then try again")

    async def _try_job(self, identity: str) -> bool:
        job = await self._store.job(identity)
        _check_ended([job])
        if job.study and await self._store.stored("study", [job.study]):
            raise Conflict(f"job {job.id} belongs to study {job.study}: delete the study", got=job.study)
        await self._check_free([job], besides=None)
        return await self._remove([job], None)

    async def _try_study(self, identity: str) -> bool:
        study = await self._store.study(identity)
        children = list((await self._store.children(study)).values())
        own = [job for job in children if job.study == study.id]
        _check_ended(own)
        if study.report is None and not _is_overdue(children):
            raise Conflict(
                f"the report of study {study.id} is still being written; delete it after that, or, if that can't be done, "
                f"{REPORT_PATIENCE_S // 60} minutes after the study's end"
            )
        await self._check_free(own, besides=study.id)
        return await self._remove(own, study)

    async def _check_free(self, jobs: Sequence[JobRecord], *, besides: str | None) -> None:
        teachers = await self._store.teachers(complete=True)
        living = await self._store.jobs(await self._store.active("job"))
        studies = await self._all_studies() if any(job.reuse_digest for job in jobs) else []
        for job in jobs:
            others = [study for study in studies if study.id != besides]
            if users := list(users_of(job, teachers=teachers, jobs=living, studies=others)):
                raise Conflict(
                    f"job {job.id} can't be deleted: {', '.join(users)} {'needs' if len(users) == 1 else 'need'} it",
                    got=", ".join(users),
                    expected="a job that nothing refers to",
                )

    async def _all_studies(self) -> list[StudyRecord]:
        identities = [str(one) for one in await self._redis.zrange(names.index_key("study"), 0, -1)]
        return await self._store.studies(identities, complete=True)

    async def _remove(self, jobs: Sequence[JobRecord], study: StudyRecord | None) -> bool:
        keys, arguments = [names.DELETED_KEY], []
        for job in jobs:
            baselines = names.baselines_key(job.team) if job.reuse_digest else ""
            keys += [names.record_key("job", job.id), names.index_key("job"), names.active_key("job"), baselines]
            own = [make(job.id) for make in (names.progress_key, names.directive_key, names.lease_key)]
            own += [make("job", job.id) for make in (names.inbox_key, names.events_key, names.webhook_key)]
            arguments += [job.applied_id, job.id, f"job/{job.id}", job.reuse_digest or "", json.dumps(own)]
            arguments += [place_of(job), json.dumps(lists_of(job))]
        if study is not None:
            keys += [names.record_key("study", study.id), names.index_key("study"), names.active_key("study"), ""]
            own = [make("study", study.id) for make in (names.inbox_key, names.events_key, names.webhook_key)]
            arguments += [study.applied_id, study.id, f"study/{study.id}", "", json.dumps(own)]
            arguments += [place_of(study), json.dumps(lists_of(study))]
        return bool(await self._delete(keys=keys, args=arguments))


def users_of(
    job: JobRecord, *, teachers: Sequence[TeacherRecord], jobs: Sequence[JobRecord], studies: Sequence[StudyRecord]
) -> Iterator[str]:
    """What refers to a job, in words: teachers' versions made of it, jobs that begin from it or await it, studies."""
    for teacher in teachers:
        for version in teacher.versions:
            if version.state is not TeacherVersionState.REJECTED and job.id in {one.job for one in version.members}:
                yield f"teacher {teacher.name}@{version.version}"
    for other in jobs:
        if other.after == job.id or job.id in weights_of(other):
            yield f"job {other.id}"
    for study in studies:
        if job.id in study.jobs.values():
            yield f"study {study.id}"


def _is_overdue(children: Sequence[JobRecord]) -> bool:
    """Whether the report of a study with these jobs should long be there: a file that it needs is gone."""
    patience = timedelta(seconds=REPORT_PATIENCE_S)
    return all(job.ended_at is not None and now() - job.ended_at > patience for job in children)


def _check_ended(jobs: Sequence[JobRecord]) -> None:
    for job in jobs:
        if not job.state.is_final:
            raise Conflict(
                f"job {job.id} is {job.state.value}, and only what has ended can be deleted; cancel it first",
                got=job.state.value,
                expected="SUCCEEDED, FAILED or CANCELLED",
            )


def _remove_files(storage: Path, entry: str) -> None:
    kind, _, identity = entry.partition("/")
    folders = [names.report_folder("job" if kind == "job" else "study", identity)]
    folders += [names.run_folder(identity)] if kind == "job" else []
    for folder in folders:
        while (storage / folder).exists():
            with contextlib.suppress(FileNotFoundError):  # another control plane is at it too
                shutil.rmtree(storage / folder)
