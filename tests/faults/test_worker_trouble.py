"""A worker is killed, frozen, cut off, or out of room: real processes, with the real journal, lease and watch."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.events import Event
from distill.contracts.facts import AttemptClaimed, AttemptLost, CancelAsked, PauseAsked, ResumeAsked
from distill.contracts.records import JobRecord, JobState, Outcome
from distill.journal.client import open_redis
from distill.journal.watch import DirectiveWatch
from services.control_plane.reconciler import Reconciler
from services.control_plane.store import Store
from tests.faults.processes import Forked, ProcessRay
from tests.faults.redis_to_break import RedisToBreak, until
from tests.faults.tiny_worker import SUPERSEDED
from tests.services.control_plane.fakes import a_reconciler
from tests.services.control_plane.records import a_queued_job
from tests.services.control_plane.test_life import LOST

JOB, FIRST, SECOND = "digits-abc234", "digits-abc234-1", "digits-abc234-2"

Rounds = Callable[[Callable[[JobRecord], bool]], Awaitable[JobRecord]]


@pytest.fixture
def reconciler(redis: Redis, processes: ProcessRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reconciler:
    monkeypatch.setattr("services.control_plane.liveness.GRACE_S", 0.2)
    monkeypatch.setattr("services.control_plane.life.BACK_OFF_S", (0,))
    return a_reconciler(redis, processes, tmp_path)


@pytest.fixture
def rounds(store: Store, reconciler: Reconciler) -> Rounds:
    """Rounds of the control plane until the job is as it should be; returns it."""

    async def rounds(is_so: Callable[[JobRecord], bool]) -> JobRecord:
        async def looks() -> bool:
            await reconciler.round()
            return is_so(await store.job(JOB))

        await until(looks)
        return await store.job(JOB)

    return rounds


async def a_working_job(store: Store, rounds: Rounds, **limits: int) -> JobRecord:
    """Its first attempt runs, and has saved something."""
    await store.create_jobs([a_queued_job(JOB, limits=limits)])
    return await rounds(lambda job: job.state is JobState.RUNNING and job.checkpoint is not None)


async def events_of(redis: Redis) -> list[Event]:
    found = await redis.xrange(names.events_key("job", JOB))
    return [Event.model_validate_json(fields["event"]) for _, fields in found]


async def code_of(process: Forked) -> int | None:
    return await asyncio.to_thread(process.wait, 20)


def lines(storage: Path, attempt: int) -> list[int]:
    """What an attempt has written into its own folder."""
    file = storage / names.attempt_folder(JOB, attempt) / "epochs.txt"
    return [int(line) for line in file.read_text().split()]


def files_below(storage: Path) -> set[Path]:
    return {path for path in storage.rglob("*") if "redis-home" not in path.parts}


async def test_a_killed_driver_is_followed_by_an_attempt_that_goes_on_from_its_checkpoint(
    store: Store, rounds: Rounds, processes: ProcessRay, tmp_path: Path
):
    await a_working_job(store, rounds)
    processes.processes[FIRST].send_signal(signal.SIGKILL)
    job = await rounds(lambda job: job.attempt == 2 and job.state is JobState.RUNNING)
    assert (job.attempts[0].outcome, job.attempts[0].problem.code) == (Outcome.LOST, "attempt_lost")
    job = await rounds(lambda job: job.checkpoint.attempt == 2)
    epochs = [epoch["epoch"] for epoch in job.epochs]
    assert epochs == list(range(1, len(epochs) + 1)), "none is missing, and none came twice"
    assert lines(tmp_path, 2)[0] > 1


async def test_a_frozen_worker_that_thaws_after_its_successor_began_changes_nothing_and_stops(
    store: Store, redis: Redis, rounds: Rounds, processes: ProcessRay
):
    await a_working_job(store, rounds)
    zombie = processes.processes[FIRST]
    zombie.send_signal(signal.SIGSTOP)
    processes.wrongly_failed.add(FIRST)
    await rounds(lambda job: job.attempt == 2 and job.state is JobState.RUNNING)
    first = (await store.job(JOB)).attempts[0]
    zombie.send_signal(signal.SIGCONT)
    assert await code_of(zombie) == SUPERSEDED
    job = await rounds(lambda job: job.checkpoint.attempt == 2)
    assert job.attempts[0] == first
    assert (job.state, job.attempt) == (JobState.RUNNING, 2)
    events = await events_of(redis)
    taken_over = next(place for place, event in enumerate(events) if event.attempt == 2)
    seen = [event.fact for event in events[taken_over:] if hasattr(event.fact, "writer")]
    assert {fact.attempt for fact in seen} == {2}, "no follower hears of the first one again"
    assert await redis.get(names.lease_key(JOB)) == "2"


async def test_a_frozen_worker_whose_job_was_given_up_stops_when_it_thaws(
    store: Store, rounds: Rounds, processes: ProcessRay
):
    await a_working_job(store, rounds, max_failures=0)
    zombie = processes.processes[FIRST]
    zombie.send_signal(signal.SIGSTOP)
    processes.wrongly_failed.add(FIRST)
    failed = await rounds(lambda job: job.state is JobState.FAILED)
    zombie.send_signal(signal.SIGCONT)
    assert await code_of(zombie) == SUPERSEDED
    await store.apply_pending("job", JOB)
    after = await store.job(JOB)
    assert after.model_copy(update={"applied_id": failed.applied_id}) == failed


async def test_a_worker_that_thaws_before_anybody_gave_it_up_goes_on(
    store: Store, redis: Redis, rounds: Rounds, processes: ProcessRay
):
    before = await a_working_job(store, rounds)
    processes.processes[FIRST].send_signal(signal.SIGSTOP)
    await until(lambda: is_gone(redis, names.lease_key(JOB)))
    await rounds(lambda job: job.state is JobState.RUNNING)
    processes.processes[FIRST].send_signal(signal.SIGCONT)
    job = await rounds(lambda job: job.checkpoint.epoch > before.checkpoint.epoch + 2)
    assert job.attempt == 1


async def test_a_lease_that_was_lost_is_taken_again_by_the_attempt_that_counts(
    store: Store, redis: Redis, rounds: Rounds
):
    await a_working_job(store, rounds)
    await redis.delete(names.lease_key(JOB))

    async def beats() -> bool:
        return await redis.get(names.lease_key(JOB)) == "1"

    await until(beats)
    assert (await store.job(JOB)).attempt == 1


async def test_a_stale_worker_can_neither_take_nor_give_back_the_lease_of_a_newer_one(
    store: Store, redis: Redis, server: RedisToBreak
):
    await store.create_jobs([a_queued_job(JOB)])
    await store.append("job", JOB, AttemptClaimed(attempt=1, at=now()))
    with open_redis(server.url) as its_redis, DirectiveWatch(its_redis, JOB, attempt=1, keep_lease=True):
        assert await redis.get(names.lease_key(JOB)) == "1"
        await store.append("job", JOB, AttemptLost(attempt=1, problem=LOST, at=now()))
        await store.append("job", JOB, AttemptClaimed(attempt=2, at=now()))
        await redis.set(names.lease_key(JOB), 2)
    assert await redis.get(names.lease_key(JOB)) == "2"


async def test_while_redis_is_silent_a_worker_goes_on_in_its_own_folder_and_stops_in_the_end(
    store: Store, rounds: Rounds, server: RedisToBreak, processes: ProcessRay, tmp_path: Path
):
    processes.max_offline_s = 1.5
    await a_working_job(store, rounds)
    there = files_below(tmp_path)
    written = len(lines(tmp_path, 1))
    await asyncio.to_thread(server.kill)
    went = time.monotonic()
    assert await code_of(processes.processes[FIRST]) != 0
    assert 1.5 <= time.monotonic() - went < 15
    assert len(lines(tmp_path, 1)) > written + 5, "it went on"
    assert files_below(tmp_path) == there, "and wrote nowhere else"


async def test_what_was_said_while_redis_was_away_arrives_once_and_in_order(
    store: Store, redis: Redis, rounds: Rounds, server: RedisToBreak, processes: ProcessRay, tmp_path: Path
):
    await a_working_job(store, rounds)
    await asyncio.to_thread(server.kill)
    written = len(lines(tmp_path, 1))
    await until(lambda: has_written(tmp_path, written + 5))
    await asyncio.to_thread(server.start)
    await until(lambda: answers(redis))
    job = await rounds(lambda job: len(job.epochs) > written + 5)
    assert (job.state, job.attempt) == (JobState.RUNNING, 1)
    epochs = [event.fact.epoch for event in await events_of(redis) if event.fact.kind == "epoch_ended"]
    assert epochs == list(range(1, len(epochs) + 1))


async def test_a_full_disk_is_an_infrastructure_failure_that_is_tried_again(
    store: Store, rounds: Rounds, processes: ProcessRay
):
    processes.options = ["--disk-bytes", "20"]
    await store.create_jobs([a_queued_job(JOB, limits={"max_failures": 1})])
    job = await rounds(lambda job: job.state.is_final)
    assert (job.state, job.reason.code) == (JobState.FAILED, "dependency_down")
    assert [attempt.outcome for attempt in job.attempts] == [Outcome.FAILED, Outcome.FAILED]
    assert "the storage takes no more" in job.reason.text


async def test_a_cancelled_worker_keeps_its_checkpoint_and_leaves_no_process(
    store: Store, rounds: Rounds, processes: ProcessRay
):
    await a_working_job(store, rounds)
    asked = time.monotonic()
    await store.append("job", JOB, CancelAsked(at=now()))
    job = await rounds(lambda job: job.state.is_final)
    assert time.monotonic() - asked < 15
    assert (job.state, job.attempts[0].outcome) == (JobState.CANCELLED, Outcome.CANCELLED)
    assert f"a checkpoint of step {job.checkpoint.step} is kept" in job.reason.text
    assert await code_of(processes.processes[FIRST]) == 0


async def test_a_worker_that_pays_no_heed_is_interrupted_and_one_that_is_frozen_is_killed(
    store: Store, rounds: Rounds, processes: ProcessRay, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.control_plane.decisions.SAY_AFTER_S", 0.1)
    monkeypatch.setattr("services.control_plane.decisions.SIGNAL_AFTER_S", 0.6)
    processes.options, processes.kill_after_s = ["--stubborn"], 0.5
    await a_working_job(store, rounds)
    await store.append("job", JOB, PauseAsked(at=now()))
    said = await rounds(lambda job: job.reason.code == "stopping")
    assert said.state is JobState.PAUSING
    paused = await rounds(lambda job: job.state is JobState.PAUSED)
    assert paused.attempts[0].outcome is Outcome.PAUSED, "it heard the signal, and had the last word"
    await store.append("job", JOB, ResumeAsked(at=now()))
    await rounds(lambda job: job.state is JobState.RUNNING and job.attempt == 2)
    processes.processes[SECOND].send_signal(signal.SIGSTOP)
    await store.append("job", JOB, CancelAsked(at=now()))
    cancelled = await rounds(lambda job: job.state.is_final)
    assert (cancelled.state, cancelled.attempts[1].outcome) == (JobState.CANCELLED, Outcome.LOST)
    assert processes.processes[SECOND].poll() == -signal.SIGKILL


async def test_a_driver_that_lingers_after_its_last_word_is_stopped(
    store: Store, rounds: Rounds, processes: ProcessRay, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.control_plane.strays.EVERY_S", 0.05)
    monkeypatch.setattr("services.control_plane.strays.PATIENCE_S", 0.2)
    processes.options = ["--lingers"]
    await a_working_job(store, rounds)
    await store.append("job", JOB, CancelAsked(at=now()))
    await rounds(lambda job: job.state is JobState.CANCELLED and processes.processes[FIRST].poll() is not None)
    assert processes.processes[FIRST].poll() == 0


async def test_a_worker_that_was_stopped_from_outside_comes_back_without_counting_as_failed(
    store: Store, rounds: Rounds, processes: ProcessRay
):
    await a_working_job(store, rounds, max_failures=0)
    processes.processes[FIRST].send_signal(signal.SIGINT)
    job = await rounds(lambda job: job.attempt == 2 and job.state is JobState.RUNNING)
    assert (job.attempts[0].outcome, job.attempts[0].problem.code) == (Outcome.FAILED, "interrupted")


async def is_gone(redis: Redis, key: str) -> bool:
    return not await redis.exists(key)


async def has_written(storage: Path, count: int) -> bool:
    return len(lines(storage, 1)) >= count


async def answers(redis: Redis) -> bool:
    try:
        return bool(await redis.ping())
    except RedisError:
        return False
