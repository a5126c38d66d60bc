"""A control plane is killed between any two of: intent, effect, confirmation. The next one loses nothing, and doubles nothing.

It dies where it stands: nothing of it runs any more, its lease runs out, and another one begins with what Redis and Ray know.
"""

import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.facts import CancelAsked, Fact, PhaseReached, VersionCreated
from distill.contracts.names import Kind
from distill.contracts.records import JobState, Phase
from distill.contracts.teachers import TeacherVersionState
from distill.journal.client import open_redis
from distill.journal.journal import append_fact
from services.control_plane.deleting import Deletion
from services.control_plane.lease import Lease
from services.control_plane.ray_rest import RayJob, RayJobState
from services.control_plane.reconciler import Reconciler
from services.control_plane.reservations import Reservations
from services.control_plane.store import Store
from services.stack.processes import free_ports
from tests.faults.conftest import a_control_plane
from tests.faults.processes import Forked, run_control_plane
from tests.faults.ray_server import RayServer
from tests.faults.redis_to_break import RedisToBreak, until
from tests.services.control_plane.fakes import DOOR, FakeRay, a_reconciler
from tests.services.control_plane.records import (
    NOON,
    a_queued_job,
    a_taught_job,
    a_teacher,
    a_version,
    at,
    said,
)

JOB, FIRST = "digits-abc234", "digits-abc234-1"


class Killed(BaseException):
    """The process is no more: nothing that it would have done after this happens."""


class CountingRay(FakeRay):
    """Counts what really begins, and is killed with its caller before or after a call."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[str] = []
        self.dies: tuple[str, str] | None = None

    async def submit(self, submission_id: str, arguments: list[str], *, environment: Mapping[str, str]) -> None:
        self._die("before", "submit")
        if submission_id not in self.jobs:
            self.started.append(submission_id)
        await super().submit(submission_id, arguments, environment=environment)
        self._die("after", "submit")

    async def stop(self, submission_id: str) -> None:
        self._die("before", "stop")
        await super().stop(submission_id)
        self._die("after", "stop")

    async def put_applications(self, config: Mapping[str, Any]) -> None:
        self._die("before", "put")
        await super().put_applications(config)
        self._die("after", "put")

    def _die(self, when: str, where: str) -> None:
        if self.dies == (when, where):
            self.dies = None
            raise Killed


class DyingStore(Store):
    """Is killed with its caller before or after a fact of one kind is kept."""

    def __init__(self, redis: Redis, when: str, kind: str) -> None:
        super().__init__(redis)
        self._when, self._kind = when, kind

    async def append(self, kind: Kind, identity: str, fact: Fact) -> None:
        if fact.kind == self._kind and self._when == "before":
            raise Killed
        await super().append(kind, identity, fact)
        if fact.kind == self._kind:
            raise Killed


def dying_word(when: str) -> Callable[[Lease, Kind, str, Fact], Awaitable[None]]:
    """In place of `Lease.say`: is killed with its caller before or after the fact is kept."""
    say = Lease.say

    async def dying(lease: Lease, kind: Kind, identity: str, fact: Fact) -> None:
        if when == "after":
            await say(lease, kind, identity, fact)
        raise Killed

    return dying


@pytest.fixture
def ray() -> CountingRay:
    return CountingRay()


async def dies(reconciler: Reconciler, redis: Redis) -> None:
    """One round, which it doesn't survive; its lease runs out."""
    with pytest.raises(Killed):
        await reconciler.round()
    await redis.delete(names.RECONCILER_KEY)


def dying(store: Store, redis: Redis, ray: FakeRay, storage: Path) -> Reconciler:
    reservations = Reservations(redis, door=DOOR)
    return Reconciler(store, redis, ray, reservations, storage=storage, teacher_idle_s=60, door_port=8471)  # type: ignore[arg-type]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("point", ["claim", "submit", "confirm"])
async def test_killed_around_claim_submit_or_confirm_one_attempt_runs_as_one_ray_job(
    store: Store, redis: Redis, ray: CountingRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, when: str
):
    await store.create_jobs([a_queued_job(JOB)])
    if point == "confirm":
        await dies(dying(DyingStore(redis, when, "attempt_launched"), redis, ray, tmp_path), redis)
    elif point == "submit":
        ray.dies = (when, "submit")
        await dies(a_reconciler(redis, ray, tmp_path), redis)
    else:
        with monkeypatch.context() as patched:
            patched.setattr(Lease, "say", dying_word(when))
            await dies(a_reconciler(redis, ray, tmp_path), redis)
    successor = a_reconciler(redis, ray, tmp_path)
    for _ in range(3):
        await successor.round()
    job = await store.job(JOB)
    assert ray.started == [FIRST]
    assert (job.state, job.attempt) == (JobState.STARTING, 1)
    assert Phase.LAUNCHED in job.attempts[0].phases
    events = await redis.xrange(names.events_key("job", JOB))
    assert len(events) == 3, "created, claimed, launched: each once"


async def test_killed_after_ray_took_an_attempt_that_is_cancelled_meanwhile_leaves_no_ray_job(
    store: Store, redis: Redis, ray: CountingRay, tmp_path: Path
):
    await store.create_jobs([a_queued_job(JOB)])
    ray.dies = ("after", "submit")
    await dies(a_reconciler(redis, ray, tmp_path), redis)
    await store.append("job", JOB, CancelAsked(at=NOON))  # long ago: it is overdue
    successor = a_reconciler(redis, ray, tmp_path)
    await successor.round()
    assert ray.jobs[FIRST].state is RayJobState.STOPPED
    await successor.round()
    assert (await store.job(JOB)).state is JobState.CANCELLED


@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_around_a_stop_the_attempt_is_stopped_all_the_same(
    store: Store, redis: Redis, ray: CountingRay, tmp_path: Path, when: str
):
    await store.create_jobs([a_queued_job(JOB)])
    await a_reconciler(redis, ray, tmp_path).round()
    await redis.delete(names.RECONCILER_KEY)
    await store.append("job", JOB, CancelAsked(at=NOON))
    ray.dies = (when, "stop")
    await dies(a_reconciler(redis, ray, tmp_path), redis)
    successor = a_reconciler(redis, ray, tmp_path)
    await successor.round()
    await successor.round()
    assert (await store.job(JOB)).state is JobState.CANCELLED
    assert ray.started == [FIRST]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_around_a_teachers_check_the_version_is_checked_once(
    store: Store, redis: Redis, ray: CountingRay, tmp_path: Path, when: str
):
    await store.create_teacher(a_teacher(versions=(), aliases={}))
    checking = a_version(state=TeacherVersionState.CHECKING, manifest=None)
    await store.append("teacher", "wise", VersionCreated(version=checking, at=NOON))
    ray.dies = (when, "submit")
    await dies(a_reconciler(redis, ray, tmp_path), redis)
    await a_reconciler(redis, ray, tmp_path).round()
    assert ray.started == ["check-wise-1"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_around_the_set_of_applications_the_next_one_serves_the_same(
    store: Store, redis: Redis, ray: CountingRay, tmp_path: Path, when: str
):
    await store.create_teacher(a_teacher())
    await store.create_jobs([a_taught_job("taught-abc234")])
    await a_reconciler(redis, ray, tmp_path).round()
    await store.append("job", "taught-abc234", said(PhaseReached(attempt=1, phase=Phase.CHECKED, at=at(1)), 1))
    await redis.delete(names.RECONCILER_KEY)
    ray.dies = (when, "put")
    await dies(a_reconciler(redis, ray, tmp_path), redis)
    await a_reconciler(redis, ray, tmp_path).round()
    assert ray.served == {"teacher-wise-1": 1, "answer-book": 1}


async def test_killed_after_an_attempt_is_found_dead_the_next_one_finds_it_too(
    store: Store, redis: Redis, ray: CountingRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.control_plane.liveness.GRACE_S", 0.0)
    await store.create_jobs([a_queued_job(JOB)])
    await a_reconciler(redis, ray, tmp_path).round()
    await redis.delete(names.RECONCILER_KEY)
    ray.jobs[FIRST] = RayJob(RayJobState.FAILED, "killed")
    await dies(dying(DyingStore(redis, "before", "attempt_lost"), redis, ray, tmp_path), redis)
    await a_reconciler(redis, ray, tmp_path).round()
    job = await store.job(JOB)
    assert (job.state, job.attempt, job.reason.code) == (JobState.QUEUED, 1, "retrying")


async def test_a_real_control_plane_killed_while_ray_starts_its_job_leaves_it_to_the_next_one(
    server: RedisToBreak, redis: Redis, store: Store, tmp_path: Path
):
    await store.create_jobs([a_queued_job(JOB)])
    async with RayServer().running() as ray:
        environment = {
            "STILLHOUSE_REDIS_URL": server.url, "STILLHOUSE_STORAGE": str(tmp_path),
            "STILLHOUSE_RAY_DASHBOARD": ray.url, "STILLHOUSE_PORT": str(free_ports(1)[0]),
        }  # fmt: skip
        first = Forked(run_control_plane, environment)
        ray.on_submit = lambda: first.send_signal(signal.SIGKILL)
        await until(lambda: died(first))
        await redis.delete(names.RECONCILER_KEY)  # it would run out in 5 s
        second = Forked(run_control_plane, environment)
        try:
            await until(lambda: launched(store))
        finally:
            second.send_signal(signal.SIGKILL)
            second.wait(10)
    assert ray.started == [FIRST]
    assert (await store.job(JOB)).attempt == 1


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_what_was_said_of_an_ended_job_while_no_control_plane_was_there_is_passed_over_by_the_next_one(
    server: RedisToBreak, redis: Redis, store: Store, tmp_path: Path, is_deleted: bool
):
    await store.create_jobs([a_queued_job(JOB)])
    await store.append("job", JOB, CancelAsked(at=NOON))
    if is_deleted:
        await Deletion(store, redis).job(JOB)
    with open_redis(server.url) as its_redis:  # of a worker that was frozen, and thaws
        append_fact(its_redis, "job", JOB, said(PhaseReached(attempt=1, phase=Phase.TRAINING, at=NOON), 1))
    assert not await has_nothing_in(redis, names.inbox_key("job", JOB))
    async with a_control_plane(server.url, tmp_path):
        await until(lambda: has_nothing_in(redis, names.inbox_key("job", JOB)))
    assert not (is_deleted and await redis.exists(names.inbox_key("job", JOB)))


async def has_nothing_in(redis: Redis, inbox: str) -> bool:
    return not await redis.xlen(inbox)


async def died(process: Forked) -> bool:
    return process.poll() is not None


async def launched(store: Store) -> bool:
    newest = (await store.job(JOB)).newest
    return newest is not None and Phase.LAUNCHED in newest.phases
