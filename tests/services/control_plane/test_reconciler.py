"""What a round asks of Ray, on a real Redis and a dashboard that remembers."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import DependencyDown
from distill.contracts.facts import AttemptEnded, PhaseReached, VersionCreated
from distill.contracts.pool import ReplicaLoad
from distill.contracts.records import JobState, Outcome, Phase
from distill.contracts.teachers import TeacherResources, TeacherVersionState
from services.control_plane.attempts import Attempts
from services.control_plane.deleting import Deletion
from services.control_plane.lease import Lease, LeaseLost
from services.control_plane.ray_rest import ClusterResources, RayJob, RayJobState
from services.control_plane.reconciler import RESOURCES_AGE_S, Reconciler
from services.control_plane.reservations import Reservations
from services.control_plane.store import Store
from tests.services.control_plane.fakes import DOOR, FakeRay, a_reconciler
from tests.services.control_plane.records import (
    NOON,
    WISE,
    a_queued_job,
    a_taught_job,
    a_teacher,
    a_version,
    said,
)


async def test_a_queued_job_is_launched_as_a_ray_job_of_its_own(store: Store, reconciler: Reconciler, ray: FakeRay):
    await store.create_jobs([a_queued_job("digits-abc234")])
    await reconciler.round()
    assert ray.arguments == {"digits-abc234-1": ["student_worker", "--job", "digits-abc234", "--attempt", "1"]}
    job = await store.job("digits-abc234")
    assert job.state is JobState.STARTING
    assert Phase.LAUNCHED in job.attempts[0].phases


async def test_a_job_that_ray_refuses_says_why_and_holds_up_no_other(
    store: Store, reconciler: Reconciler, ray: FakeRay
):
    ray.refuses = {"bad-abc234-1"}
    await store.create_jobs([a_queued_job("bad-abc234"), a_queued_job("good-abc234")])
    await reconciler.round()
    await reconciler.round()
    assert (await store.job("bad-abc234")).reason.code == "waiting_for_cluster"
    assert "runtime environment" in (await store.job("bad-abc234")).reason.text
    assert "good-abc234-1" in ray.jobs


async def test_a_job_waits_until_its_teacher_fits_beside_its_workers(
    store: Store, reconciler: Reconciler, ray: FakeRay
):
    ray.total = ClusterResources(cpus=1.25)
    await store.create_teacher(a_teacher())  # its replica takes a CPU, and the job's worker half of one
    await store.create_jobs([a_taught_job("taught-abc234")])
    await reconciler.round()
    job = await store.job("taught-abc234")
    text = "needs 1.5 CPUs, and the cluster has 1.25 for it at most"
    assert (job.state, job.reason.text) == (JobState.QUEUED, text)
    ray.total = ClusterResources(cpus=1.5)
    reconciler._resources = None
    await reconciler.round()
    assert (await store.job("taught-abc234")).state is JobState.STARTING


async def test_two_jobs_of_one_teacher_pay_for_it_once(store: Store, reconciler: Reconciler, ray: FakeRay):
    await store.create_teacher(a_teacher())
    await store.create_jobs([a_taught_job("one-abc234"), a_taught_job("two-abc234")])
    await reconciler.round()
    assert set(ray.jobs) == {"one-abc234-1", "two-abc234-1"}


async def test_a_cluster_that_does_not_know_its_nodes_yet_refuses_nothing(reconciler: Reconciler, ray: FakeRay):
    ray.total = ClusterResources()
    assert await reconciler.resources() is None
    ray.total = ClusterResources(cpus=2)
    assert await reconciler.resources() == ClusterResources(cpus=2)


async def test_while_ray_hangs_one_waits_for_it_and_no_submit_after(reconciler: Reconciler, ray: FakeRay):
    asked: list[int] = []
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def hang() -> ClusterResources:
        asked.append(1)
        begun.set()
        await goes_on.wait()
        raise DependencyDown("Ray's dashboard doesn't answer: TimeoutError")

    ray.resources = hang  # type: ignore[method-assign]
    both = [asyncio.create_task(reconciler.resources()) for _ in range(2)]
    await begun.wait()
    goes_on.set()
    assert await asyncio.gather(*both) == [None, None]
    begun.clear()
    goes_on.clear()
    async with asyncio.timeout(5):
        assert await reconciler.resources() is None
        assert len(asked) == 1
        reconciler._resources = (-RESOURCES_AGE_S, None)  # its time is over, and the next round asks again
        waiting = asyncio.create_task(reconciler.resources())
        await begun.wait()
        assert await reconciler.resources() is None
    goes_on.set()
    assert await waiting is None
    assert len(asked) == 2


async def test_an_attempt_without_a_word_or_a_heartbeat_is_lost_and_its_output_kept(
    store: Store, reconciler: Reconciler, ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.control_plane.liveness.GRACE_S", 0.0)
    await store.create_jobs([a_queued_job("digits-abc234")])
    await reconciler.round()
    ray.jobs["digits-abc234-1"] = RayJob(RayJobState.FAILED, "killed for memory")
    await reconciler.round()
    job = await store.job("digits-abc234")
    assert (job.state, job.reason.code) == (JobState.QUEUED, "retrying")
    assert "killed for memory" in job.reason.text
    log = tmp_path / names.attempt_folder("digits-abc234", 1) / names.LOG_FILE
    assert log.read_text() == "what digits-abc234-1 printed\n"


async def test_an_attempt_whose_output_can_not_be_kept_is_lost_all_the_same(
    store: Store, reconciler: Reconciler, ray: FakeRay, monkeypatch: pytest.MonkeyPatch
):
    async def full(_: str) -> str:
        raise OSError("no space left on device")

    monkeypatch.setattr("services.control_plane.liveness.GRACE_S", 0.0)
    monkeypatch.setattr(ray, "logs", full)
    await store.create_jobs([a_queued_job("digits-abc234")])
    await reconciler.round()
    ray.jobs["digits-abc234-1"] = RayJob(RayJobState.FAILED, "killed for memory")
    await reconciler.round()
    assert (await store.job("digits-abc234")).reason.code == "retrying"


async def test_files_that_take_long_to_remove_hold_up_no_job(
    store: Store, reconciler: Reconciler, ray: FakeRay, monkeypatch: pytest.MonkeyPatch
):
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def large_folder(*_: object) -> None:
        begun.set()
        await may_end.wait()

    monkeypatch.setattr(Deletion, "sweep", large_folder)
    await reconciler.round()
    tidying = asyncio.create_task(reconciler.tidy())
    await begun.wait()
    await store.create_jobs([a_queued_job("digits-abc234")])
    await reconciler.round()
    assert set(ray.jobs) == {"digits-abc234-1"}
    may_end.set()
    await tidying


async def test_who_lost_the_lease_claims_nothing_however_long_it_was_stopped(
    store: Store, redis: Redis, ray: FakeRay, tmp_path: Path
):
    lease = Lease(redis)
    assert await lease.hold()
    attempts = Attempts(store, redis, ray, lease, storage=tmp_path)  # type: ignore[arg-type]  # it stands for Ray
    await store.create_jobs([a_queued_job("digits-abc234")])
    await redis.set(names.RECONCILER_KEY, "another", ex=600)
    with pytest.raises(LeaseLost):
        await attempts.claim(await store.job("digits-abc234"))
    assert await redis.xlen(names.inbox_key("job", "digits-abc234")) == 0
    assert (await store.job("digits-abc234")).state is JobState.QUEUED


async def test_a_last_word_in_the_inbox_counts_before_rays(
    store: Store, reconciler: Reconciler, ray: FakeRay, redis: Redis
):
    await store.create_jobs([a_queued_job("digits-abc234")])
    await reconciler.round()
    last_word = said(AttemptEnded(attempt=1, outcome=Outcome.FINISHED, at=now()), 1)
    await redis.xadd(names.inbox_key("job", "digits-abc234"), {"fact": last_word.model_dump_json()})
    ray.jobs["digits-abc234-1"] = RayJob(RayJobState.SUCCEEDED)
    await reconciler.round()
    assert (await store.job("digits-abc234")).state is JobState.SUCCEEDED


async def test_a_teacher_is_served_while_an_attempt_needs_it(store: Store, reconciler: Reconciler, ray: FakeRay):
    await store.create_teacher(a_teacher())
    await store.create_jobs([a_taught_job("taught-abc234")])
    await reconciler.round()
    assert ray.served == {}
    await store.append("job", "taught-abc234", said(PhaseReached(attempt=1, phase=Phase.CHECKED, at=now()), 1))
    await reconciler.round()
    assert ray.served == {"teacher-wise-1": 1, "answer-book": 1}


@pytest.mark.parametrize("left", [{}, {"teacher-wise-1": 5, "answer-book": 1}], ids=["lost", "changed"])
async def test_what_serve_lost_or_somebody_changed_is_put_right(
    store: Store, reconciler: Reconciler, ray: FakeRay, monkeypatch: pytest.MonkeyPatch, left: dict[str, int]
):
    monkeypatch.setattr("services.control_plane.pool.SERVE_CHECK_S", 0.0)
    await a_checked_job(store, reconciler)
    await reconciler.round()
    ray.served = left
    await reconciler.round()
    assert ray.served == {"teacher-wise-1": 1, "answer-book": 1}


async def test_declared_demand_brings_replicas_as_far_as_there_is_room(
    store: Store, reconciler: Reconciler, ray: FakeRay
):
    ray.total = ClusterResources(cpus=3.9)  # the worker takes half of one, and each replica, of 1,000 rows/s, a whole
    await a_checked_job(store, reconciler, rows_per_s=8000)
    await reconciler.round()
    assert ray.served["teacher-wise-1"] == 3


async def test_a_job_in_the_queue_has_the_room_that_further_replicas_took(
    store: Store, reconciler: Reconciler, ray: FakeRay
):
    ray.total = ClusterResources(cpus=3.5)
    await a_checked_job(store, reconciler, rows_per_s=8000)
    await reconciler.round()
    assert ray.served["teacher-wise-1"] == 3
    await store.create_jobs([a_queued_job("next-abc234")])
    await reconciler.round()
    job = await store.job("next-abc234")
    assert (job.state, job.reason.text) == (JobState.QUEUED, "waiting for 0.5 CPUs (0 free)")
    assert ray.served["teacher-wise-1"] == 2
    await reconciler.round()
    assert (await store.job("next-abc234")).state is JobState.STARTING


async def test_a_long_queue_brings_a_replica_and_a_silent_replica_nothing(
    store: Store, redis: Redis, reconciler: Reconciler, ray: FakeRay, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.control_plane.scaling.SHORT_S", 0.0)
    ray.total = ClusterResources(cpus=9)
    await a_checked_job(store, reconciler)
    await reconciler.round()
    load = ReplicaLoad(replica="r", queued_rows=5000, rows_per_s=1000, busy=1, at=now() - timedelta(seconds=60))
    await redis.hset(names.load_key("teacher-wise-1"), "r", load.model_dump_json())
    await reconciler.round()
    assert ray.served["teacher-wise-1"] == 1
    await redis.hset(names.load_key("teacher-wise-1"), "r", load.model_copy(update={"at": now()}).model_dump_json())
    await redis.expire(names.load_key("teacher-wise-1"), 60)
    await reconciler.round()
    await reconciler.round()
    assert ray.served["teacher-wise-1"] == 2


async def test_the_next_control_plane_keeps_the_replicas_that_there_are(
    store: Store, redis: Redis, reconciler: Reconciler, ray: FakeRay, tmp_path: Path
):
    ray.total = ClusterResources(cpus=9)
    ray.served = {"teacher-wise-1": 3, "answer-book": 1}
    await a_checked_job(store, reconciler)
    await reconciler.round()
    assert ray.served == {"teacher-wise-1": 3, "answer-book": 1}


async def test_a_reservation_keeps_its_teacher_and_the_door_and_lets_go_of_them(
    store: Store, redis: Redis, reconciler: Reconciler, ray: FakeRay, monkeypatch: pytest.MonkeyPatch
):
    await store.create_teacher(a_teacher())
    reservations = Reservations(redis, door=DOOR)
    held = await reservations.create(WISE, team="default", rows_per_s=10)
    await reconciler.round()
    assert ray.served == {"teacher-wise-1": 1, "answer-book": 1, "door": 1}
    await reservations.end(held.id)
    await reconciler.round()
    assert set(ray.served) == {"teacher-wise-1", "answer-book", "door"}, "its idle time has not passed"
    monkeypatch.setattr("services.control_plane.pool.now", lambda: now() + timedelta(seconds=61))
    await reconciler.round()
    assert ray.served == {}


async def a_checked_job(store: Store, reconciler: Reconciler, *, rows_per_s: float | None = None) -> None:
    """A job that learns from ``wise`` (1 to 8 replicas), in an attempt that has checked its data."""
    await store.create_teacher(a_teacher(a_version(resources=TeacherResources(num_cpus=1, max_replicas=8))))
    await store.create_jobs([a_taught_job("taught-abc234", answers={"rows_per_s": rows_per_s})])
    await reconciler.round()
    await store.append("job", "taught-abc234", said(PhaseReached(attempt=1, phase=Phase.CHECKED, at=now()), 1))


async def test_a_check_that_the_cluster_forgot_is_launched_again(store: Store, reconciler: Reconciler, ray: FakeRay):
    checking = a_version(state=TeacherVersionState.CHECKING, manifest=None)
    await store.create_teacher(a_teacher(versions=(), aliases={}))
    await store.append("teacher", "wise", VersionCreated(version=checking, at=NOON))
    await reconciler.round()
    assert "check-wise-1" in ray.jobs
    ray.jobs.clear()
    await reconciler.round()
    assert "check-wise-1" in ray.jobs


async def test_a_check_that_died_rejects_its_version_with_what_it_printed(
    store: Store, reconciler: Reconciler, ray: FakeRay, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.control_plane.pool.CHECK_GRACE_S", 0.0)
    checking = a_version(state=TeacherVersionState.CHECKING, manifest=None)
    await store.create_teacher(a_teacher(versions=(), aliases={}))
    await store.append("teacher", "wise", VersionCreated(version=checking, at=NOON))
    await reconciler.round()
    ray.jobs["check-wise-1"] = RayJob(RayJobState.FAILED, "killed")
    await reconciler.round()
    [version] = (await store.teacher("wise")).versions
    assert version.state is TeacherVersionState.REJECTED
    assert "what check-wise-1 printed" in version.problem.message


async def test_only_the_holder_of_the_lease_acts(
    store: Store, redis: Redis, reconciler: Reconciler, ray: Any, tmp_path: Path
):
    second = a_reconciler(redis, ray, tmp_path)
    await reconciler.round()
    await store.create_jobs([a_queued_job("digits-abc234")])
    await second.round()
    assert ray.jobs == {}
    await reconciler.give_up_lease()
    await second.round()
    assert set(ray.jobs) == {"digits-abc234-1"}


async def test_a_teacher_that_can_not_be_read_holds_up_no_other_and_no_job(
    store: Store, redis: Redis, reconciler: Reconciler, ray: FakeRay, caplog: pytest.LogCaptureFixture
):
    await store.create_teacher(a_teacher())
    checking = a_version(state=TeacherVersionState.CHECKING, manifest=None)
    await store.create_teacher(a_teacher(checking, name="whole", aliases={}))
    await store.create_jobs([a_queued_job("whole-abc234")])
    await redis.set(names.record_key("teacher", "wise"), "{torn")
    await reconciler.round()
    assert set(ray.jobs) == {"whole-abc234-1", "check-whole-1"}
    assert "the record of wise can't be read" in caplog.text


async def test_a_record_that_can_not_be_read_holds_up_no_other_job(
    store: Store, redis: Redis, reconciler: Reconciler, ray: FakeRay, caplog: pytest.LogCaptureFixture
):
    await store.create_jobs([a_queued_job("broken-abc234"), a_queued_job("whole-abc234")])
    await redis.set(names.record_key("job", "broken-abc234"), "{torn")
    await reconciler.round()
    assert set(ray.jobs) == {"whole-abc234-1"}
    assert "job broken-abc234 failed" in caplog.text
