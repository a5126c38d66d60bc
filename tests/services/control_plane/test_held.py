"""What attempts held is counted once each, however they ended and whoever applied it, in the months in which it passed."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.errors import Problem
from distill.contracts.facts import (
    AttemptClaimed,
    AttemptEnded,
    AttemptLaunched,
    AttemptLost,
    CancelAsked,
    JobFact,
    PauseAsked,
    PhaseReached,
    TeacherAwaited,
)
from distill.contracts.pool import StudentUsage, TeamUsage
from distill.contracts.records import JobRecord, JobState, Outcome, Phase
from services.control_plane.held import held_by_end
from services.control_plane.life import apply_fact
from services.control_plane.measured import read_usage
from services.control_plane.store import Store
from tests.services.control_plane.records import NOON, a_queued_job, after, at, said

WIDE = {"compute": {"workers": 4, "cpus_per_worker": 1.5, "gpus_per_worker": 0.5}}
JOB = "digits-abc234"
LATE = datetime(2030, 1, 1, tzinfo=UTC)
"""No clock of these tests is ahead of it."""


def launched(launched_at: datetime = NOON, **changes: Any) -> JobRecord:
    """A job of four workers whose first attempt Ray accepted then."""
    claimed = AttemptClaimed(attempt=1, at=launched_at - timedelta(seconds=3))
    taken = AttemptLaunched(attempt=1, submission_id=f"{JOB}-1", at=launched_at)
    return after(a_queued_job(JOB, **(WIDE | changes)), claimed, taken)


def ends(seconds: float, outcome: Outcome = Outcome.FINISHED, attempt: int = 1, number: int = 1) -> AttemptEnded:
    """An attempt's last word, so long after noon."""
    return said(AttemptEnded(attempt=attempt, outcome=outcome, at=at(seconds)), number)


def lost(seconds: float, code: str = "worker_lost") -> AttemptLost:
    """It is given up, so long after noon."""
    return AttemptLost(attempt=1, problem=Problem(code=code, message="gone"), at=at(seconds))


def held(before: JobRecord, fact: JobFact, *, heard_at: datetime = LATE) -> dict[str, StudentUsage]:
    return held_by_end(before, apply_fact(before, fact), heard_at=heard_at)


@pytest.mark.parametrize(
    ("wishes", "end", "state"),
    [
        ((), ends(100), JobState.SUCCEEDED),
        ((), ends(100, Outcome.FAILED), JobState.QUEUED),
        ((), lost(100), JobState.QUEUED),
        ((), lost(100, "preempted"), JobState.QUEUED),
        ((), lost(100, "invalid_data"), JobState.FAILED),
        ((CancelAsked(at=at(50)),), ends(100, Outcome.CANCELLED), JobState.CANCELLED),
        ((CancelAsked(at=at(50)),), lost(100), JobState.CANCELLED),
        ((PauseAsked(at=at(50)),), ends(100, Outcome.PAUSED), JobState.PAUSED),
        ((said(TeacherAwaited(attempt=1, teacher="wise@1", text="away", at=at(50)), 1),),
         ends(100, Outcome.WAITED, number=2), JobState.QUEUED),
    ],
)  # fmt: skip
def test_however_an_attempt_ends_it_held_its_workers_from_launch_to_end(
    wishes: tuple[JobFact, ...], end: JobFact, state: JobState
):
    living = after(launched(), *wishes)
    assert apply_fact(living, end).state is state
    had = StudentUsage(attempts=1, worker_seconds=400, cpu_seconds=600, gpu_seconds=200)
    assert held(living, end) == {"2026-11": had}


def test_nothing_but_an_end_is_counted_and_no_end_twice():
    living = launched()
    for fact in (said(PhaseReached(attempt=1, phase=Phase.WORKERS_READY, at=at(5)), 1), CancelAsked(at=at(9))):
        assert held(living, fact) == {}
    over = apply_fact(living, lost(10))
    for fact in (ends(20), lost(30), CancelAsked(at=at(40)), AttemptClaimed(attempt=2, at=at(50))):
        assert held(over, fact) == {}, fact


def test_of_several_attempts_each_counts_for_itself():
    second = after(
        launched(), lost(100), AttemptClaimed(attempt=2, at=at(200)),
        AttemptLaunched(attempt=2, submission_id=f"{JOB}-2", at=at(210)),
    )  # fmt: skip
    assert held(second, ends(215, attempt=2))["2026-11"].worker_seconds == 5 * 4


def test_one_that_ray_never_took_is_an_attempt_that_held_nothing():
    claimed = after(a_queued_job(JOB, **WIDE), AttemptClaimed(attempt=1, at=NOON))
    assert held(claimed, lost(60)) == {"2026-11": StudentUsage(attempts=1)}


def test_one_whose_launch_nobody_confirmed_counts_from_its_first_word():
    said_first = said(PhaseReached(attempt=1, phase=Phase.STARTED, at=at(10)), 1)
    living = after(a_queued_job(JOB, **WIDE), AttemptClaimed(attempt=1, at=NOON), said_first)
    confirmed_late = after(living, AttemptLaunched(attempt=1, submission_id=f"{JOB}-1", at=at(25)))
    for one in (living, confirmed_late):
        assert held(one, ends(30, number=2))["2026-11"].worker_seconds == 20 * 4


def test_seconds_count_in_the_month_in_which_they_passed_and_the_attempt_where_it_ended():
    living = launched(datetime(2026, 11, 30, 23, 59, 30, tzinfo=UTC))
    end = ends((datetime(2027, 1, 1, 0, 0, 10, tzinfo=UTC) - NOON).total_seconds())
    seconds = {month: (one.attempts, one.worker_seconds) for month, one in held(living, end).items()}
    assert seconds == {"2026-11": (0, 4 * 30), "2026-12": (0, 4 * 31 * 86_400), "2027-01": (1, 4 * 10)}


def test_months_are_those_of_utc_wherever_a_clock_stands():
    living = launched(datetime.fromisoformat("2026-12-01T00:30:00+02:00"))
    end = said(
        AttemptEnded(attempt=1, outcome=Outcome.FINISHED, at=datetime.fromisoformat("2026-12-01T01:00:00+02:00")), 1
    )
    assert held(living, end).keys() == {"2026-11"}


def test_one_that_ends_at_the_stroke_of_a_month_held_nothing_in_the_next():
    midnight = datetime(2026, 12, 1, tzinfo=UTC)
    living = launched(midnight - timedelta(seconds=7))
    had = held(living, ends((midnight - NOON).total_seconds()))
    assert {month: (one.attempts, one.worker_seconds) for month, one in had.items()} == {
        "2026-11": (0, 28), "2026-12": (1, 0),
    }  # fmt: skip


@pytest.mark.parametrize("year", [1970, 9999])
def test_a_worker_whose_clock_is_wrong_can_not_count_years(year: int):
    end = AttemptEnded(attempt=1, outcome=Outcome.FINISHED, at=datetime(year, 12, 31, 23, tzinfo=UTC))
    had = held(launched(), said(end, 1), heard_at=at(20))
    assert had["2026-11"].worker_seconds == (0 if year == 1970 else 4 * 20)
    assert {month: one.attempts for month, one in had.items()} == {"2026-11": 1}


def test_a_worker_whose_clock_is_long_behind_counts_from_the_claim():
    long_ago = said(PhaseReached(attempt=1, phase=Phase.STARTED, at=datetime(1970, 1, 1, tzinfo=UTC)), 1)
    living = after(a_queued_job(JOB, **WIDE), AttemptClaimed(attempt=1, at=NOON), long_ago)
    assert held(living, lost(30)) == {
        "2026-11": StudentUsage(attempts=1, worker_seconds=120, cpu_seconds=180, gpu_seconds=60)
    }


async def usage_of(redis: Redis, month: str = "2026-11", team: str = "default") -> TeamUsage:
    (found,) = await read_usage(redis, [team], month)
    return found


NUMBERS = count()


async def waits_in(redis: Redis, *facts: JobFact, job: str = JOB) -> None:
    """These facts lie in the inbox of the job; they came, by Redis' clock, two minutes after noon."""
    for fact in facts:
        entry = f"{int(at(120).timestamp() * 1000)}-{next(NUMBERS)}"
        await redis.xadd(names.inbox_key("job", job), {"fact": fact.model_dump_json()}, id=entry)


BEGINS: tuple[JobFact, ...] = (
    AttemptClaimed(attempt=1, at=NOON), AttemptLaunched(attempt=1, submission_id=f"{JOB}-1", at=NOON),
)  # fmt: skip


async def test_several_appliers_of_the_same_end_count_it_once(store: Store, redis: Redis):
    await store.create_jobs([a_queued_job(JOB, **WIDE)])
    # said twice, and by the control plane as well
    await waits_in(redis, *BEGINS, ends(100), ends(100), lost(120))
    await asyncio.gather(*(Store(redis).apply_pending("job", JOB) for _ in range(5)))
    had = StudentUsage(attempts=1, worker_seconds=400, cpu_seconds=600, gpu_seconds=200)
    assert (await usage_of(redis)).students == had


async def test_who_dies_before_the_step_counts_nothing_and_whoever_applies_again_counts_it_once(
    store: Store, redis: Redis
):
    await store.create_jobs([a_queued_job(JOB, **WIDE)])
    await waits_in(redis, *BEGINS)
    await store.apply_pending("job", JOB)
    await waits_in(redis, ends(100))
    ((entry, fields),) = await redis.xrange(names.inbox_key("job", JOB))
    before = await store.job(JOB)
    assert (await usage_of(redis)).students == StudentUsage()
    # its answer was lost, so it does the same step again; another one had read the same record
    assert [await Store(redis)._apply_entry("job", before, entry, fields) for _ in range(3)] == [1, 0, 0]
    await waits_in(redis, ends(100))
    await store.apply_pending("job", JOB)
    assert (await usage_of(redis)).students.attempts == 1
    assert (await usage_of(redis)).students.worker_seconds == 400


async def test_attempts_and_jobs_of_a_team_add_up_and_each_team_has_its_own(store: Store, redis: Redis):
    for job, team in (("one", "default"), ("two", "default"), ("three", "vision")):
        await store.create_jobs([a_queued_job(job).model_copy(update={"team": team})])
        for attempt, end in ((1, lost(0.1)), (2, ends(0.2, attempt=2))):
            taken = AttemptLaunched(attempt=attempt, submission_id="x", at=NOON)
            await waits_in(redis, AttemptClaimed(attempt=attempt, at=NOON), taken, end, job=job)
        await store.apply_pending("job", job)
    found = await read_usage(redis, ["default", "vision", "nobody"], "2026-11")
    assert [(one.students.attempts, one.students.worker_seconds) for one in found] == [(4, 0.6), (2, 0.3), (0, 0)]
    assert [one.team for one in found] == ["default", "vision", "nobody"]


async def test_over_rest_a_month_has_both_what_teachers_computed_and_what_attempts_held(
    api: httpx.AsyncClient, store: Store, redis: Redis
):
    await redis.hset(names.usage_key("default", "2026-11"), mapping={"wise@1|rows_computed": "7"})
    await store.create_jobs([a_queued_job(JOB, **WIDE)])
    await waits_in(redis, *BEGINS, ends(100))
    await store.apply_pending("job", JOB)
    answer = (await api.get("/v1/usage", params={"month": "2026-11"})).json()
    assert [one["teacher"] for one in answer["teachers"]] == ["wise@1"]
    assert answer["students"] == {"attempts": 1, "worker_seconds": 400, "cpu_seconds": 600, "gpu_seconds": 200}
    assert answer["storage"] is None
    other = (await api.get("/v1/usage", params={"month": "2026-10"})).json()
    assert other["students"]["attempts"] == 0


async def test_an_operator_reads_all_teams_at_once_and_nobody_else_does(
    api: httpx.AsyncClient, store: Store, redis: Redis
):
    await api.post("/v1/keys", json={"name": "k", "team": "keyed", "scopes": ["read"]})
    await api.put("/v1/teams/granted", json={"weight": 2})
    await store.create_jobs([a_queued_job(JOB).model_copy(update={"team": "works"})])
    await redis.hset(names.usage_key("works", "2026-11"), mapping={"wise@1|rows_computed": "7"})
    answer = (await api.get("/v1/usage/teams", params={"month": "2026-11"})).json()
    assert [one["team"] for one in answer["items"]] == ["default", "granted", "keyed", "works"]
    assert [len(one["teachers"]) for one in answer["items"]] == [0, 0, 0, 1]
    assert (await api.get("/v1/usage/teams", params={"month": "2026-13"})).status_code == 422
