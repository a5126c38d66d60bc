"""The jobs that have not ended, as the reconciler reads them."""

from datetime import timedelta

from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.facts import AttemptClaimed, CancelAsked
from distill.contracts.records import JobState
from services.control_plane.active_jobs import ActiveJobs
from services.control_plane.store import Store
from tests.services.control_plane.records import NOON, a_queued_job


async def test_they_come_oldest_first_with_what_their_workers_said_and_without_those_that_ended(
    store: Store, redis: Redis
):
    newer = a_queued_job("newer-abc234").model_copy(update={"created_at": NOON + timedelta(hours=1)})
    await store.create_jobs([newer, a_queued_job("older-abc234"), a_queued_job("gone-abc234")])
    jobs = ActiveJobs(store)
    assert [job.id for job in await jobs.read()] == ["gone-abc234", "older-abc234", "newer-abc234"]
    await redis.xadd(
        names.inbox_key("job", "newer-abc234"), {"fact": AttemptClaimed(attempt=1, at=NOON).model_dump_json()}
    )
    await redis.xadd(names.inbox_key("job", "gone-abc234"), {"fact": CancelAsked(at=NOON).model_dump_json()})
    found = await jobs.read()
    assert [(job.id, job.state) for job in found] == [
        ("older-abc234", JobState.QUEUED), ("newer-abc234", JobState.STARTING),
    ]  # fmt: skip


async def test_one_that_can_not_be_read_holds_up_no_other_and_is_seen_once_it_is_mended(store: Store, redis: Redis):
    await store.create_jobs([a_queued_job("one-abc234"), a_queued_job("two-abc234")])
    jobs, key = ActiveJobs(store), names.record_key("job", "one-abc234")
    await jobs.read()
    whole = await redis.get(key)
    await redis.set(key, "torn")
    assert [job.id for job in await jobs.read()] == ["two-abc234"]
    await redis.set(key, whole)
    assert [job.id for job in await jobs.read()] == ["one-abc234", "two-abc234"]


async def test_what_has_not_changed_is_not_read_anew_and_many_cost_few_questions(store: Store, redis: Redis):
    await store.create_jobs([a_queued_job(f"job-{number:04}") for number in range(1200)])
    jobs = ActiveJobs(store)
    first = {job.id: job for job in await jobs.read()}
    await store.append("job", "job-0007", AttemptClaimed(attempt=1, at=NOON))
    await redis.config_resetstat()
    second = {job.id: job for job in await jobs.read()}
    assert [name for name in second if second[name] is not first[name]] == ["job-0007"]
    calls = {name: about["calls"] for name, about in (await redis.info("commandstats")).items()}
    assert (calls["cmdstat_mget"], "cmdstat_get" in calls) == (3, False)
