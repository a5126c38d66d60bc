"""The driver process with a real Ray Train: what it says, what it leaves, and how it is stopped."""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from distill.contracts import names
from distill.contracts.facts import AttemptEnded, CheckpointSaved, EpochEnded, Fact, PhaseReached
from distill.contracts.measures import AttemptResult
from distill.contracts.records import JobRecord, Outcome, Phase, Wish
from distill.contracts.settings import NodeSettings
from tests.student_worker.jobs import a_record, a_spec, facts_of, store, wants

LONG = {"training": {"epochs": 100_000, "batch_size": 128}}


def driver(record: JobRecord, environment: dict[str, str], redis: Redis) -> subprocess.Popen[bytes]:
    """Start the driver of the first attempt."""
    store(redis, record)
    command = [sys.executable, "-m", "student_worker", "--job", record.id, "--attempt", "1"]
    return subprocess.Popen(command, env=environment)


def until(true: Callable[[], bool], timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def of_kind(facts: list[Fact], kind: type[Any]) -> list[Any]:
    return [fact for fact in facts if isinstance(fact, kind)]


def phases(redis: Redis, job: str) -> list[Phase]:
    return [fact.phase for fact in of_kind(facts_of(redis, job), PhaseReached)]


def ending(redis: Redis, job: str) -> AttemptEnded:
    (last,) = of_kind(facts_of(redis, job), AttemptEnded)
    return last


@pytest.mark.long  # fundamentals/test_workers.py says the same over REST
def test_one_and_two_workers_learn_the_same_and_leave_a_result(
    driver_environment: dict[str, str], redis: Redis, settings: NodeSettings
):
    results = []
    for workers in (1, 2):
        record = a_record(f"workers-{workers}", a_spec(compute={"workers": workers, "cpus_per_worker": 0.5}))
        assert driver(record, driver_environment, redis).wait(timeout=150) == 0
        end = ending(redis, record.id)
        assert end.outcome is Outcome.FINISHED, end.problem
        results.append(AttemptResult.model_validate_json((settings.storage / str(end.result)).read_bytes()))
    alone, together = ([point.train_loss for point in result.curve] for result in results)
    assert together == pytest.approx(alone, rel=1e-5)
    assert phases(redis, "workers-2") == [
        Phase.STARTED,
        Phase.CHECKED,
        Phase.WORKERS_READY,
        Phase.TRAINING,
        Phase.TRAINED,
        Phase.EVALUATED,
        Phase.EXPORTED,
    ]


@pytest.mark.long
def test_two_workers_cancelled_in_the_middle_stop_at_one_step_with_a_checkpoint(
    driver_environment: dict[str, str], redis: Redis
):
    record = a_record("cancelled", a_spec(compute={"workers": 2, "cpus_per_worker": 0.5}, **LONG))
    process = driver(record, driver_environment, redis)
    until(lambda: bool(of_kind(facts_of(redis, record.id), EpochEnded)))
    wants(redis, record, Wish.CANCEL)
    assert process.wait(timeout=60) == 0
    assert ending(redis, record.id).outcome is Outcome.CANCELLED
    assert of_kind(facts_of(redis, record.id), CheckpointSaved)[-1].checkpoint.step > 0


def test_an_attempt_cancelled_before_there_is_room_for_its_workers_ends_at_once(
    driver_environment: dict[str, str], redis: Redis
):
    record = a_record("no-room-yet", a_spec(compute={"cpus_per_worker": 1000}))
    process = driver(record, driver_environment, redis)
    until(lambda: Phase.CHECKED in phases(redis, record.id))
    wants(redis, record, Wish.CANCEL)
    assert process.wait(timeout=60) == 0
    assert ending(redis, record.id).outcome is Outcome.CANCELLED


def test_what_the_check_finds_is_said_in_its_own_words_and_no_worker_is_asked_for(
    driver_environment: dict[str, str], redis: Redis, settings: NodeSettings
):
    record = a_record("too-large", a_spec(training={"batch_size": 100_000}))
    assert driver(record, driver_environment, redis).wait(timeout=60) == 0
    problem = ending(redis, record.id).problem
    assert problem is not None
    assert (problem.code, problem.field) == ("invalid_spec", "training.batch_size")
    folder = settings.storage / names.attempt_folder(record.id, 1)
    assert "larger than the data" in (folder / names.LOG_FILE).read_text()
    assert not (folder / "train").exists()


def test_a_driver_of_an_older_attempt_leaves_without_a_word(driver_environment: dict[str, str], redis: Redis):
    record = a_record("older", a_spec())
    store(redis, record.model_copy(update={"attempts": record.attempts * 2}))
    command = [sys.executable, "-m", "student_worker", "--job", record.id, "--attempt", "1"]
    assert subprocess.run(command, env=driver_environment, timeout=60, check=False).returncode == 0
    assert facts_of(redis, record.id) == []
