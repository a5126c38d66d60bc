"""Two control planes at once, one of them frozen in the middle of what it does: they act as one."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.events import Event
from distill.contracts.facts import AttemptClaimed, AttemptLost, CancelAsked, PhaseReached
from distill.contracts.records import JobState, Phase
from services.control_plane.lease import Lease, LeaseLost
from services.control_plane.ray_rest import ClusterResources, RayJob
from services.control_plane.store import Store
from tests.services.control_plane.fakes import FakeRay, a_reconciler
from tests.services.control_plane.records import NOON, a_queued_job, a_taught_job, a_teacher, at, said
from tests.services.control_plane.test_life import LOST

JOB, FIRST = "digits-abc234", "digits-abc234-1"


class SlowRay(FakeRay):
    """Stands still in front of an answer until it is let go: so does who asked."""

    def __init__(self, shared: FakeRay, stands_before: str) -> None:
        super().__init__()
        self.total, self.jobs, self.served, self.puts = shared.total, shared.jobs, shared.served, shared.puts
        self.arguments = shared.arguments
        self._stands_before = stands_before
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        self.effects: list[str] = []

    async def job(self, submission_id: str) -> RayJob:
        answer = await super().job(submission_id)
        await self._stand("job")
        return answer

    async def applications(self) -> dict[str, int]:
        answer = await super().applications()
        await self._stand("applications")
        return answer

    async def submit(self, submission_id: str, arguments: list[str], *, environment: Mapping[str, str]) -> None:
        self.effects.append(f"submit {submission_id}")
        await super().submit(submission_id, arguments, environment=environment)

    async def stop(self, submission_id: str) -> None:
        self.effects.append(f"stop {submission_id}")
        await super().stop(submission_id)

    async def put_applications(self, config: Mapping[str, Any]) -> None:
        self.effects.append("put")
        await super().put_applications(config)

    async def _stand(self, where: str) -> None:
        if where == self._stands_before:
            self.reached.set()
            await self.go.wait()


async def test_two_control_planes_at_once_start_each_job_once(store: Store, redis: Redis, tmp_path: Path):
    ray = FakeRay()
    ray.total = ClusterResources(cpus=100)
    jobs = [a_queued_job(f"job-{number}") for number in range(20)]
    await store.create_jobs(jobs)
    both = [a_reconciler(redis, ray, tmp_path) for _ in range(2)]
    for _ in range(3):
        await asyncio.gather(*(one.round() for one in both))
        await redis.delete(names.RECONCILER_KEY)  # and now the other one may act
    assert set(ray.jobs) == {f"{job.id}-1" for job in jobs}
    for job in jobs:
        found = await redis.xrange(names.events_key("job", job.id))
        kinds = [Event.model_validate_json(fields["event"]).fact.kind for _, fields in found]
        assert kinds == ["job_created", "attempt_claimed", "attempt_launched"]


@pytest.mark.parametrize("deed", ["submit", "stop"])
async def test_a_control_plane_that_was_frozen_asks_nothing_more_of_ray(
    store: Store, redis: Redis, tmp_path: Path, deed: str, caplog: pytest.LogCaptureFixture
):
    ray = FakeRay()
    await store.create_jobs([a_queued_job(JOB)])
    await store.append("job", JOB, AttemptClaimed(attempt=1, at=NOON))
    if deed == "stop":
        await a_reconciler(redis, ray, tmp_path).round()
        await store.append("job", JOB, CancelAsked(at=NOON))
        await redis.delete(names.RECONCILER_KEY)
    slow = SlowRay(ray, "job")
    frozen = asyncio.create_task(a_reconciler(redis, slow, tmp_path).round())
    await slow.reached.wait()
    await redis.delete(names.RECONCILER_KEY)  # its lease runs out
    successor = a_reconciler(redis, ray, tmp_path)
    await successor.round()
    slow.go.set()
    await frozen
    assert slow.effects == []
    assert "another control plane acts now" in caplog.text
    assert set(ray.jobs) == {FIRST}


async def test_a_control_plane_that_was_frozen_puts_no_old_set_of_applications(
    store: Store, redis: Redis, tmp_path: Path
):
    ray = FakeRay()
    await store.create_teacher(a_teacher())
    slow = SlowRay(ray, "applications")
    frozen = asyncio.create_task(a_reconciler(redis, slow, tmp_path).round())  # nobody needs a teacher yet
    await slow.reached.wait()
    await redis.delete(names.RECONCILER_KEY)
    successor = a_reconciler(redis, ray, tmp_path)
    await store.create_jobs([a_taught_job("taught-abc234")])
    await successor.round()
    await store.append("job", "taught-abc234", said(PhaseReached(attempt=1, phase=Phase.CHECKED, at=at(1)), 1))
    await successor.round()
    slow.go.set()
    await frozen
    assert slow.effects == []
    assert ray.served == {"teacher-wise-1": 1, "answer-book": 1}


async def test_nobody_prolongs_or_gives_up_a_lease_that_is_anothers(redis: Redis):
    first, second = Lease(redis), Lease(redis)
    assert await first.hold()
    assert not await second.hold()
    await second.give_up()
    assert await first.hold()
    await redis.delete(names.RECONCILER_KEY)
    assert await second.hold()
    with pytest.raises(LeaseLost):
        await first.must_hold()
    await first.give_up()
    await second.must_hold()


async def test_what_a_stale_control_plane_says_of_an_older_attempt_changes_nothing(store: Store, redis: Redis):
    await store.create_jobs([a_queued_job(JOB)])
    await store.append("job", JOB, AttemptClaimed(attempt=1, at=NOON))
    await store.append("job", JOB, AttemptLost(attempt=1, problem=LOST, at=NOON))
    await store.append("job", JOB, AttemptClaimed(attempt=2, at=at(5)))
    before = await store.job(JOB)
    for stale in (AttemptClaimed(attempt=2, at=at(6)), AttemptLost(attempt=1, problem=LOST, at=at(6))):
        await store.append("job", JOB, stale)
    after = await store.job(JOB)
    assert after.model_copy(update={"applied_id": before.applied_id}) == before
    assert (after.state, after.attempt) == (JobState.STARTING, 2)
