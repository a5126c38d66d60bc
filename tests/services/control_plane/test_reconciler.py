"""What a round asks of Ray, on a real Redis and a dashboard that remembers."""

from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.facts import AttemptEnded, PhaseReached, VersionCreated
from distill.contracts.records import JobState, Outcome, Phase
from distill.contracts.teachers import TeacherVersionState
from services.control_plane.ray_rest import ClusterResources, RayJob, RayJobState
from services.control_plane.reconciler import Reconciler
from services.control_plane.store import Store
from tests.services.control_plane.fakes import FakeRay
from tests.services.control_plane.records import (
    NOON,
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
    assert (job.state, job.reason.text) == (JobState.QUEUED, "waiting for 1.5 CPUs (1.25 free)")


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


async def test_an_attempt_without_a_word_or_a_heartbeat_is_lost_and_its_output_kept(
    store: Store, reconciler: Reconciler, ray: FakeRay, tmp_path: Path
):
    await store.create_jobs([a_queued_job("digits-abc234")])
    await reconciler.round()
    ray.jobs["digits-abc234-1"] = RayJob(RayJobState.FAILED, "killed for memory")
    await reconciler.round()
    job = await store.job("digits-abc234")
    assert (job.state, job.reason.code) == (JobState.QUEUED, "retrying")
    assert "killed for memory" in job.reason.text
    log = tmp_path / names.attempt_folder("digits-abc234", 1) / names.LOG_FILE
    assert log.read_text() == "what digits-abc234-1 printed\n"


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
    assert ray.served == set()
    await store.append("job", "taught-abc234", said(PhaseReached(attempt=1, phase=Phase.CHECKED, at=now()), 1))
    await reconciler.round()
    assert ray.served == {"teacher-wise-1"}


async def test_what_serve_lost_is_served_again(
    store: Store, reconciler: Reconciler, ray: FakeRay, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.control_plane.pool.SERVE_CHECK_S", 0.0)
    await store.create_teacher(a_teacher())
    await store.create_jobs([a_taught_job("taught-abc234")])
    await reconciler.round()
    await store.append("job", "taught-abc234", said(PhaseReached(attempt=1, phase=Phase.CHECKED, at=now()), 1))
    await reconciler.round()
    ray.served = set()
    await reconciler.round()
    assert ray.served == {"teacher-wise-1"}


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
    store: Store, reconciler: Reconciler, ray: FakeRay
):
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
    second = Reconciler(store, redis, ray, storage=tmp_path, teacher_idle_s=60)
    await reconciler.round()
    await store.create_jobs([a_queued_job("digits-abc234")])
    await second.round()
    assert ray.jobs == {}
    await reconciler.give_up_lease()
    await second.round()
    assert set(ray.jobs) == {"digits-abc234-1"}


async def test_a_record_that_can_not_be_read_holds_up_no_other_job(
    store: Store, redis: Redis, reconciler: Reconciler, ray: FakeRay, caplog: pytest.LogCaptureFixture
):
    await store.create_jobs([a_queued_job("broken-abc234"), a_queued_job("whole-abc234")])
    await redis.set(names.record_key("job", "broken-abc234"), "{torn")
    await reconciler.round()
    assert set(ray.jobs) == {"whole-abc234-1"}
    assert "job broken-abc234 failed" in caplog.text
