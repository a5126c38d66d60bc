"""The life of a job against a model of its own: whatever comes, in whatever order, and whoever says it.

The machine plays everybody: users, the control plane's decisions, workers of the newest and of older attempts.
"""

from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from distill.contracts.errors import Problem
from distill.contracts.facts import (
    AttemptClaimed,
    AttemptEnded,
    AttemptLaunched,
    AttemptLost,
    CancelAsked,
    CheckpointSaved,
    EpochEnded,
    JobFact,
    PauseAsked,
    PhaseReached,
    ResumeAsked,
    TeacherAwaited,
    TeacherReturned,
)
from distill.contracts.records import CheckpointRef, JobRecord, JobState, Outcome, Phase, Wish
from services.control_plane.decisions import Confirm, DeclareLost, Launch, Observed, decide_attempt, waits_for_room
from services.control_plane.held import held_by_end
from services.control_plane.life import EDGES, apply_fact
from services.control_plane.ray_rest import RayJob, RayJobState
from tests.services.control_plane.records import NOON, a_queued_job, said

PROBLEMS = [
    None,
    *(Problem(code=code, message=code) for code in ("worker_lost", "preempted", "interrupted", "invalid_data")),
]
WHO = st.sampled_from([0, 0, 0, -1, 1])
"""Mostly the attempt that counts; else the one before it, or one that is still to come."""


class Life(RuleBasedStateMachine):
    """One job; `record` is what the code says, and the rest is what the machine knows of it otherwise."""

    def __init__(self) -> None:
        super().__init__()
        limits = {"max_failures": 1, "max_preemptions": 2, "teacher_wait_s": 60}
        self.record: JobRecord = a_queued_job(limits=limits)
        self.clock = NOON
        self.number = 0
        self.cancelled = False
        self.ended = 0
        """The newest attempt that has ended."""
        self.newest_checkpoint: CheckpointRef | None = None
        self.num_held = 0
        """Attempts that were counted in the team's usage."""

    def put(self, fact: JobFact) -> bool:
        """Apply it; whether it changed anything."""
        before = self.record
        self.record = apply_fact(before, fact)
        skips_running = before.state is JobState.STARTING and self.record.state is JobState.SUCCEEDED
        assert self.record.state is before.state or self.record.state in EDGES[before.state] or skips_running
        assert self.record is before or not before.state.is_final
        held = held_by_end(before, self.record, heard_at=self.clock)
        self.num_held += sum(one.attempts for one in held.values())
        assert all(one.worker_seconds >= 0 for one in held.values())
        return self.record is not before

    @rule(seconds=st.integers(0, 100))
    def time_passes(self, seconds: int) -> None:
        self.clock += timedelta(seconds=seconds)

    @initialize()
    def begins(self) -> None:
        assert self.put(AttemptClaimed(attempt=1, at=self.clock))

    @rule()
    def a_queued_job_is_claimed_where_it_may(self) -> None:
        if waits_for_room(self.record, self.clock):
            assert self.put(AttemptClaimed(attempt=self.record.attempt + 1, at=self.clock))

    @rule(who=WHO)
    def a_stale_control_plane_claims(self, who: int) -> None:
        attempt = self.record.attempt + who
        changed = self.put(AttemptClaimed(attempt=attempt, at=self.clock))
        assert not changed or attempt == self.record.attempt

    @rule(who=WHO)
    def a_launch_is_confirmed(self, who: int) -> None:
        attempt = self.record.attempt + who
        counts = self.counts(attempt)
        assert self.put(AttemptLaunched(attempt=attempt, submission_id="x", at=self.clock)) <= counts

    @rule(
        state=st.sampled_from([None, *RayJobState]),
        beats=st.booleans(),
        silent_s=st.sampled_from([0.0, 3.0, 60.0, 900.0]),
    )
    def the_control_plane_looks(self, state: RayJobState | None, beats: bool, silent_s: float) -> None:
        if not self.record.state.has_attempt:
            return
        ray = None if state is None else RayJob(state)
        seen = Observed(ray=ray, has_heartbeat=beats, silent_s=silent_s, now=self.clock)
        match decide_attempt(self.record, seen):
            case DeclareLost(problem=problem):
                assert not beats, "a driver that is heard is alive"
                assert state is not None, "while Ray is silent nothing ends"
                self.ends(AttemptLost(attempt=self.record.attempt, problem=problem, at=self.clock))
            case Launch() | Confirm() as what:
                assert self.record.state is JobState.STARTING
                assert not (beats and isinstance(what, Launch)), "one driver is enough"
                self.put(AttemptLaunched(attempt=self.record.attempt, submission_id="x", at=self.clock))

    @rule(
        who=WHO,
        fact=st.sampled_from(["phase", "epoch", "checkpoint", "awaits", "returned"]),
        phase=st.sampled_from(Phase),
    )
    def a_worker_speaks(self, who: int, fact: str, phase: Phase) -> None:
        attempt = self.record.attempt + who
        self.number += 1
        step = CheckpointRef(
            path=f"runs/{self.number}", digest="sha256:" + "0" * 64, epoch=1, step=self.number, attempt=attempt
        )
        fields = {"attempt": attempt, "at": self.clock}
        facts = {
            "phase": PhaseReached(phase=phase, **fields),
            "epoch": EpochEnded(epoch=self.number, metrics={}, **fields),
            "checkpoint": CheckpointSaved(checkpoint=step, **fields),
            "awaits": TeacherAwaited(teacher="f@1", text="gone", **fields),
            "returned": TeacherReturned(teacher="f@1", **fields),
        }
        counts = self.counts(attempt)
        stamped = said(facts[fact], self.number)
        assert self.put(stamped) == counts, "the word of the attempt that counts, and of no other"
        assert not self.put(stamped), "what is sent twice is applied once"
        if counts and fact == "checkpoint":
            self.newest_checkpoint = step

    @rule(who=WHO, outcome=st.sampled_from(Outcome), problem=st.sampled_from(PROBLEMS))
    def a_worker_has_its_last_word(self, who: int, outcome: Outcome, problem: Problem | None) -> None:
        attempt = self.record.attempt + who
        self.number += 1
        ended = said(AttemptEnded(attempt=attempt, outcome=outcome, problem=problem, at=self.clock), self.number)
        if self.counts(attempt):
            self.ends(ended)
        else:
            assert not self.put(ended)

    @rule(who=WHO)
    def a_stale_control_plane_gives_an_attempt_up(self, who: int) -> None:
        attempt = self.record.attempt + who
        lost = AttemptLost(attempt=attempt, problem=Problem(code="attempt_lost", message="gone"), at=self.clock)
        if self.counts(attempt):
            self.ends(lost)
        else:
            assert not self.put(lost)

    @rule(wish=st.sampled_from([PauseAsked, ResumeAsked]))
    def a_user_pauses_or_resumes(self, wish: type[PauseAsked] | type[ResumeAsked]) -> None:
        self.put(wish(at=self.clock))

    @precondition(lambda self: self.record.checkpoint is not None)
    @rule()
    def a_user_cancels(self) -> None:
        if self.put(CancelAsked(at=self.clock)):
            self.cancelled = True

    def counts(self, attempt: int) -> bool:
        return self.record.state.has_attempt and attempt == self.record.attempt

    def ends(self, fact: JobFact) -> None:
        """The attempt that counts is dead from now on."""
        self.ended = self.record.attempt
        assert self.put(fact)
        assert not self.record.state.has_attempt
        if self.cancelled:
            assert self.record.state in {JobState.CANCELLED, JobState.SUCCEEDED}

    @invariant()
    def attempts_are_numbered_without_holes_and_only_the_newest_lives(self) -> None:
        attempts = self.record.attempts
        assert [one.number for one in attempts] == list(range(1, len(attempts) + 1))
        assert all(one.outcome is not None for one in attempts[:-1])
        assert self.record.state.has_attempt == (len(attempts) > self.ended)

    @invariant()
    def who_was_cancelled_never_runs_again(self) -> None:
        if self.cancelled:
            assert self.record.wish is Wish.CANCEL
            assert self.record.state in {JobState.CANCELLING, JobState.CANCELLED, JobState.SUCCEEDED}

    @invariant()
    def the_directive_names_the_living_attempt_and_the_newest_checkpoint(self) -> None:
        directive = self.record.directive()
        assert directive.attempt == (len(self.record.attempts) if self.record.state.has_attempt else 0)
        assert self.record.checkpoint == self.newest_checkpoint

    @invariant()
    def what_each_attempt_held_is_counted_once_when_it_has_ended(self) -> None:
        assert self.num_held == sum(one.outcome is not None for one in self.record.attempts)

    @invariant()
    def it_is_tried_no_more_often_than_allowed(self) -> None:
        kinds = [(one.outcome, one.was_preempted) for one in self.record.attempts if one.outcome is not None]
        harmless = {Outcome.WAITED, Outcome.PAUSED, Outcome.FINISHED}
        failures = sum(outcome not in harmless and not preempted for outcome, preempted in kinds)
        assert failures <= self.record.spec.limits.max_failures + 1
        assert (self.record.ended_at is not None) == self.record.state.is_final


def test_whatever_happens_a_job_lives_by_its_rules():
    run_state_machine_as_test(Life, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_whatever_happens_in_a_hundred_thousand_transitions_a_job_lives_by_its_rules():
    run_state_machine_as_test(Life, settings=settings(max_examples=2000, stateful_step_count=50, deadline=None))
