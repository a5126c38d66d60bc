"""How many replicas a teacher has: every case is a line, and its numbers can be worked out in the head."""

from typing import Any

import pytest

from distill.contracts.facts import AttemptClaimed, PhaseReached
from distill.contracts.pool import ReplicaLoad
from distill.contracts.records import JobRecord, Phase
from distill.contracts.teachers import TeacherResources
from services.control_plane.ray_rest import ClusterResources
from services.control_plane.scaling import Scale, capacity_of_one, decide_scale, demand_of, fit
from tests.services.control_plane.records import NOON, a_reservation, a_taught_job, after, at, said

UP_TO_8 = TeacherResources(replicas=1, max_replicas=8)


def a_load(*, queued: int = 0, rows_per_s: float = 0.0, busy: float = 0.0) -> ReplicaLoad:
    return ReplicaLoad(replica="r", queued_rows=queued, rows_per_s=rows_per_s, busy=busy, at=NOON)


IDLE = a_load()
HALF = a_load(rows_per_s=500, busy=0.5)
FULL = a_load(rows_per_s=1000, busy=1.0, queued=900)
SWAMPED = a_load(rows_per_s=1000, busy=1.0, queued=1100)
"""Of a replica that can do 1,000 rows/s: 900 are less than a second of work, 1,100 more."""


def decide(before: Scale | None, *loads: ReplicaLoad, demand: float = 0.0, seconds: float = 0.0, **more: Any) -> Scale:
    """The next scale of a teacher of 1 to 8 replicas, each rated at 1,000 rows/s, so long after noon."""
    resources = more.get("resources", UP_TO_8)
    return decide_scale(resources, demand=demand, rated=1000, loads=loads, before=before, now=at(seconds))


@pytest.mark.parametrize(
    ("demand", "replicas"),
    [(0, 1), (1000, 1), (1040, 1), (1100, 2), (2900, 3), (7500, 8), (1e9, 8)],
)
def test_a_new_teacher_has_what_the_declared_demand_asks_for_within_its_bounds(demand: float, replicas: int):
    assert decide(None, demand=demand) == Scale(replicas)


def test_declared_demand_is_met_at_once():
    assert decide(Scale(2), IDLE, IDLE, demand=5000) == Scale(5)


def test_a_long_queue_has_to_last_and_then_doubles_the_replicas():
    seen = decide(Scale(2), SWAMPED, SWAMPED)
    assert seen == Scale(2, short_since=NOON)
    assert decide(seen, SWAMPED, SWAMPED, seconds=1.9) == seen
    assert decide(seen, SWAMPED, SWAMPED, seconds=2) == Scale(4)


def test_a_queue_that_was_long_for_a_moment_changes_nothing():
    seen = decide(Scale(1), SWAMPED)
    assert decide(seen, FULL, seconds=1) == Scale(1)


@pytest.mark.parametrize(
    ("count", "loads"),
    [
        (1, [FULL]),  # less than a second of work waits
        (2, [SWAMPED]),  # the second one is still starting
        (2, [SWAMPED, a_load(queued=2000, busy=0.5)]),  # the device is not what they wait for
        (1, []),  # nothing is known
    ],
    ids=["short queue", "one starts", "half idle", "silent"],
)
def test_what_is_no_reason_for_more(count: int, loads: list[ReplicaLoad]):
    waiting = Scale(count, short_since=NOON)
    assert decide(waiting, *loads, seconds=60).replicas <= count


def test_there_are_never_more_than_the_bound():
    few = TeacherResources(replicas=1, max_replicas=3)
    long_since = Scale(2, short_since=NOON)
    assert decide(long_since, SWAMPED, SWAMPED, seconds=9, resources=few) == Scale(3)
    assert decide(Scale(9), IDLE, resources=few).replicas == 3


def test_a_teacher_that_names_no_most_keeps_its_number():
    fixed = TeacherResources(replicas=2)
    assert decide(None, demand=1e6, resources=fixed) == Scale(2)
    assert decide(Scale(2, short_since=NOON), SWAMPED, SWAMPED, seconds=9, resources=fixed) == Scale(2)


def test_replicas_go_one_by_one_and_each_after_half_a_minute():
    seen = decide(Scale(3), HALF, IDLE, IDLE)
    assert seen == Scale(3, ample_since=NOON)
    assert decide(seen, HALF, IDLE, IDLE, seconds=29.9) == seen
    fewer = decide(seen, HALF, IDLE, IDLE, seconds=30)
    assert fewer == Scale(2)
    assert decide(fewer, HALF, IDLE, seconds=31) == Scale(2, ample_since=at(31))


def test_the_half_minute_begins_anew_when_they_are_needed_in_between():
    seen = decide(Scale(2), HALF, IDLE)
    busy_again = decide(seen, FULL, FULL, seconds=20)
    assert busy_again == Scale(2)
    assert decide(busy_again, HALF, IDLE, seconds=31) == Scale(2, ample_since=at(31))


@pytest.mark.parametrize(
    ("loads", "demand"),
    [
        ((HALF, HALF), 0),  # together a whole replica's work: one alone would be busy all the time
        ((IDLE, IDLE), 2000),  # declared
        ((), 0),  # nothing is known
    ],
    ids=["busy", "declared", "silent"],
)
def test_what_keeps_replicas(loads: tuple[ReplicaLoad, ...], demand: float):
    assert decide(Scale(2, ample_since=NOON), *loads, demand=demand, seconds=99) == Scale(2)


def test_an_idle_teacher_keeps_its_fewest():
    assert decide(Scale(1, ample_since=NOON), IDLE, seconds=99) == Scale(1)


def test_capacity_is_what_busy_replicas_show_and_else_what_the_check_measured():
    assert capacity_of_one([IDLE, a_load(rows_per_s=90, busy=0.1)], rated=1000) == 1000
    # 1,500 rows a second in 0.75 of the time, and 500 in 0.5: 2,000 rows in 1.25 s of computing
    assert capacity_of_one([a_load(rows_per_s=1500, busy=0.75), HALF, IDLE], rated=1) == pytest.approx(1600)


def test_slower_replicas_than_the_check_promised_are_made_up_for():
    slow = a_load(rows_per_s=250, busy=1.0)
    assert decide(Scale(1), slow, demand=1000) == Scale(4)


def checked(job: JobRecord) -> JobRecord:
    return after(
        job, AttemptClaimed(attempt=1, at=NOON), said(PhaseReached(attempt=1, phase=Phase.CHECKED, at=NOON), 1)
    )


def test_demand_is_what_checked_attempts_and_reservations_declare():
    declares = a_taught_job("one-abc234", answers={"rows_per_s": 300})
    jobs = [
        checked(declares),
        checked(a_taught_job("two-abc234")),
        a_taught_job("three-abc234", answers={"rows_per_s": 7}),
    ]
    assert demand_of(jobs, []) == {"teacher-wise-1": 300}
    assert demand_of(jobs, [a_reservation(rows_per_s=500), a_reservation(rows_per_s=50)]) == {"teacher-wise-1": 850}


def test_room_is_shared_in_turn():
    resources = {name: TeacherResources(num_cpus=0.5, replicas=1, max_replicas=8) for name in ("a", "b", "c")}
    wanted = {"a": Scale(5), "b": Scale(2), "c": Scale(1)}
    counts = {spare: fit(wanted, resources, spare=ClusterResources(cpus=spare)) for spare in (0.4, 0.5, 1.5, 99)}
    assert {spare: [scale.replicas for scale in found.values()] for spare, found in counts.items()} == {
        0.4: [1, 1, 1],
        0.5: [2, 1, 1],
        1.5: [3, 2, 1],
        99: [5, 2, 1],
    }


def test_a_teacher_keeps_its_fewest_however_little_room_there_is():
    resources = {"a": TeacherResources(num_cpus=1, replicas=2, max_replicas=4)}
    assert fit({"a": Scale(4)}, resources, spare=ClusterResources(cpus=-3)) == {"a": Scale(2)}


def test_a_teacher_of_gpus_waits_for_gpus():
    resources = {
        "cpu": TeacherResources(num_cpus=1, max_replicas=3),
        "gpu": TeacherResources(num_cpus=0, num_gpus=1, max_replicas=3),
    }
    fitted = fit({"cpu": Scale(3), "gpu": Scale(3)}, resources, spare=ClusterResources(cpus=9, gpus=1))
    assert {name: scale.replicas for name, scale in fitted.items()} == {"cpu": 3, "gpu": 2}


def test_fitting_forgets_no_hysteresis_where_all_fits():
    waits = Scale(2, ample_since=NOON)
    assert fit({"a": waits}, {"a": UP_TO_8}, spare=ClusterResources(cpus=9)) == {"a": waits}
