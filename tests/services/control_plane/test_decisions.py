"""What the reconciler decides, from a record and what it saw."""

from dataclasses import replace

import pytest

from distill.contracts.facts import AttemptLaunched, AttemptLost, CancelAsked, PauseAsked, PhaseReached, QueueReason
from distill.contracts.records import Phase
from services.control_plane.decisions import (
    Confirm,
    DeclareLost,
    Launch,
    Observed,
    Signal,
    Wait,
    decide_attempt,
    waits_for_room,
)
from services.control_plane.ray_rest import RayJob, RayJobState
from tests.services.control_plane.records import NOON, a_queued_job, a_running_job, a_starting_job, after, at, said
from tests.services.control_plane.test_life import LOST

LAUNCHED = AttemptLaunched(attempt=1, submission_id="digits-abc234-1", at=NOON)


def seen(state: RayJobState | None, *, heartbeat: bool = True, seconds: float = 0) -> Observed:
    """Who is not heard has not been for a minute."""
    ray = None if state is None else RayJob(state)
    return Observed(ray=ray, has_heartbeat=heartbeat, silent_s=0.0 if heartbeat else 60.0, now=at(seconds))


def test_a_job_that_backs_off_or_waits_for_another_thing_speaks_for_no_room():
    job = after(a_running_job(), AttemptLost(attempt=1, problem=LOST, at=NOON))
    assert not waits_for_room(job, at(0.5))
    assert waits_for_room(job, at(1.25))
    assert not waits_for_room(a_queued_job().model_copy(update={"after": "first-abc234"}), NOON)
    over_quota = after(a_queued_job(), QueueReason(code="waiting_for_quota", text="2 jobs at a time", at=NOON))
    assert not waits_for_room(over_quota, NOON)
    assert not waits_for_room(a_running_job(), NOON)


def test_while_ray_is_silent_nothing_ends():
    assert decide_attempt(after(a_running_job(), LAUNCHED), seen(None, heartbeat=False, seconds=9999)) is None


def test_a_claimed_attempt_is_launched_until_that_is_confirmed():
    assert decide_attempt(a_starting_job(), seen(RayJobState.ABSENT, heartbeat=False)) == Launch()
    assert decide_attempt(after(a_starting_job(), LAUNCHED), seen(RayJobState.PENDING, heartbeat=False)) is None


@pytest.mark.parametrize("state", [RayJobState.RUNNING, RayJobState.PENDING, RayJobState.FAILED])
def test_what_ray_has_already_is_confirmed_and_not_handed_over_again(state: RayJobState):
    assert decide_attempt(a_starting_job(), seen(state, heartbeat=False)) == Confirm()


def test_an_attempt_that_was_heard_is_never_launched_again_nor_lost_at_once_whatever_ray_says():
    assert decide_attempt(a_starting_job(), seen(RayJobState.ABSENT)) == Confirm()
    started = after(a_starting_job(), said(PhaseReached(attempt=1, phase=Phase.STARTED, at=NOON), 1))
    assert decide_attempt(started, seen(RayJobState.ABSENT, heartbeat=False)) == Confirm()
    runs = a_running_job()
    assert Phase.LAUNCHED not in runs.attempts[-1].phases
    assert decide_attempt(runs, seen(RayJobState.ABSENT)) is None
    just_fell_silent = Observed(ray=RayJob(RayJobState.ABSENT), has_heartbeat=False, silent_s=1.0, now=NOON)
    for job in (runs, after(runs, CancelAsked(at=NOON)), after(runs, PauseAsked(at=NOON))):
        assert not isinstance(decide_attempt(job, just_fell_silent), DeclareLost)


def test_a_heartbeat_outweighs_rays_word():
    job = after(a_running_job(), LAUNCHED)
    assert decide_attempt(job, seen(RayJobState.FAILED, heartbeat=True)) is None
    assert isinstance(decide_attempt(job, seen(RayJobState.FAILED, heartbeat=False)), DeclareLost)


def test_an_attempt_that_the_cluster_forgot_is_lost():
    lost = decide_attempt(after(a_running_job(), LAUNCHED), seen(RayJobState.ABSENT, heartbeat=False))
    assert isinstance(lost, DeclareLost)
    assert "Ray was restarted" in lost.problem.message


@pytest.mark.parametrize("wish", [CancelAsked(at=NOON), PauseAsked(at=NOON)], ids=["cancel", "pause"])
def test_an_attempt_that_is_to_stop_is_signalled_only_when_it_does_not_obey(wish):
    job = after(a_running_job(), LAUNCHED, wish)
    assert decide_attempt(job, seen(RayJobState.RUNNING, seconds=14)) is None
    says = decide_attempt(job, seen(RayJobState.RUNNING, seconds=29))
    assert isinstance(says, Wait)
    assert "interrupted after 30 s" in says.reason.text
    assert decide_attempt(job, seen(RayJobState.RUNNING, seconds=31)) == Signal()


@pytest.mark.parametrize("wish", [CancelAsked(at=NOON), PauseAsked(at=NOON)], ids=["cancel", "pause"])
@pytest.mark.parametrize("state", [RayJobState.PENDING, RayJobState.RUNNING])
def test_an_attempt_that_was_never_heard_is_interrupted_at_once_as_it_has_nothing_to_save(wish, state: RayJobState):
    silent = after(a_starting_job(), LAUNCHED, wish)
    assert decide_attempt(silent, seen(state, heartbeat=False)) == Signal()
    assert decide_attempt(silent, seen(state, heartbeat=True)) is None
    started = after(silent, said(PhaseReached(attempt=1, phase=Phase.STARTED, at=NOON), 1))
    assert decide_attempt(started, seen(state, heartbeat=False)) is None


def test_who_can_not_be_stopped_because_ray_is_silent_says_so():
    job = after(a_running_job(), LAUNCHED, CancelAsked(at=NOON))
    says = decide_attempt(job, seen(None, heartbeat=False, seconds=40))
    assert isinstance(says, Wait)
    assert says.reason.code == "waiting_for_cluster"


def test_an_attempt_cancelled_between_its_launch_and_the_word_of_it_is_stopped_all_the_same():
    job = after(a_starting_job(), CancelAsked(at=NOON))
    assert decide_attempt(job, seen(RayJobState.RUNNING, seconds=31)) == Signal()
    assert isinstance(decide_attempt(job, seen(RayJobState.STOPPED, heartbeat=False)), DeclareLost)


def test_a_driver_that_has_been_silent_for_longer_than_any_that_works_is_stopped():
    job = after(a_running_job(), LAUNCHED)
    silent = Observed(ray=RayJob(RayJobState.RUNNING), has_heartbeat=False, silent_s=659, now=NOON)
    assert decide_attempt(job, silent) is None
    assert decide_attempt(job, replace(silent, silent_s=661)) == Signal()
    pending = replace(silent, ray=RayJob(RayJobState.PENDING), silent_s=9999)
    assert decide_attempt(job, pending) is None, "it waits for the cluster, and has no process that could hang"


def test_an_attempt_cancelled_before_its_launch_is_gone():
    job = after(a_starting_job(), CancelAsked(at=NOON))
    assert isinstance(decide_attempt(job, seen(RayJobState.ABSENT, heartbeat=False)), DeclareLost)
