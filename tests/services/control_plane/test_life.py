"""The life of a job, one promise a test."""

from hypothesis import given, settings
from hypothesis import strategies as st

from distill.contracts.errors import Interrupted, Problem, WallTimeOver
from distill.contracts.facts import (
    AttemptClaimed,
    AttemptEnded,
    AttemptLaunched,
    AttemptLost,
    CancelAsked,
    CheckpointSaved,
    EpochEnded,
    GenerationMissing,
    GenerationReady,
    JobFact,
    PauseAsked,
    PhaseReached,
    PrioritySet,
    QueueReason,
    ResumeAsked,
    TeacherAwaited,
    TeacherReturned,
)
from distill.contracts.records import EPOCHS_HELD, CheckpointRef, JobState, Outcome, Phase, Wish
from services.control_plane.life import EDGES, apply_fact
from tests.services.control_plane.records import (
    NOON,
    a_queued_job,
    a_running_job,
    a_starting_job,
    a_taught_job,
    after,
    at,
    said,
)

DIGEST = "sha256:" + "0" * 64
LOST = Problem(code="attempt_lost", message="the driver ended without a last word")


def ended(outcome: Outcome, number: int = 9, *, attempt: int = 1, problem: Problem | None = None) -> AttemptEnded:
    return said(AttemptEnded(attempt=attempt, outcome=outcome, problem=problem, at=NOON), number)


def test_a_claim_numbers_the_next_attempt():
    job = a_starting_job()
    assert (job.state, job.attempt) == (JobState.STARTING, 1)
    assert job.attempts[0].phases == {Phase.CLAIMED: NOON}


def test_a_priority_can_be_changed_until_the_end():
    job = after(a_running_job(), PrioritySet(priority=7, at=at(1)))
    assert (job.priority, job.state, job.spec.priority) == (7, JobState.RUNNING, 0)
    assert apply_fact(job, PrioritySet(priority=7, at=at(2))) is job
    over = after(job, ended(Outcome.FINISHED))
    assert apply_fact(over, PrioritySet(priority=1, at=at(3))) is over


def test_a_second_claim_of_the_same_attempt_changes_nothing():
    job = a_starting_job()
    assert apply_fact(job, AttemptClaimed(attempt=1, at=NOON)) is job
    assert apply_fact(job, AttemptClaimed(attempt=2, at=NOON)) is job


def test_a_worker_of_an_older_attempt_cannot_change_the_job():
    second = after(a_running_job(), AttemptLost(attempt=1, problem=LOST, at=NOON), AttemptClaimed(attempt=2, at=NOON))
    assert second.attempt == 2
    assert apply_fact(second, ended(Outcome.FINISHED, attempt=1)) is second
    checkpoint = CheckpointRef(path="x", digest=DIGEST, epoch=1, step=1, attempt=1)
    assert apply_fact(second, said(CheckpointSaved(attempt=1, checkpoint=checkpoint, at=NOON), 5)) is second


def test_what_is_sent_twice_is_applied_once():
    epoch = said(EpochEnded(attempt=1, epoch=1, metrics={"accuracy": 0.5}, at=NOON), 7)
    once = after(a_running_job(), epoch)
    assert apply_fact(once, epoch) is once
    assert len(once.epochs) == 1


def test_a_finished_attempt_ends_the_job():
    job = after(a_running_job(), ended(Outcome.FINISHED))
    assert job.state is JobState.SUCCEEDED
    assert job.ended_at == NOON


def test_the_drivers_last_word_may_overtake_rank_zeros_first_one():
    assert after(a_starting_job(), ended(Outcome.FINISHED)).state is JobState.SUCCEEDED


def test_an_attempt_that_used_up_its_wall_time_is_not_tried_again():
    over = WallTimeOver("the attempt has run for limits.wall_s").problem()
    job = after(a_running_job(), ended(Outcome.FAILED, problem=over))
    assert (job.state, job.reason.code) == (JobState.FAILED, "wall_time")


def test_an_end_state_never_changes():
    job = after(a_running_job(), ended(Outcome.FINISHED))
    assert apply_fact(job, CancelAsked(at=NOON)) is job
    assert apply_fact(job, AttemptLost(attempt=1, problem=LOST, at=NOON)) is job


def test_a_users_error_is_not_tried_again():
    torn = Problem(code="invalid_weights", message="the weights file is torn")
    job = after(a_running_job(), ended(Outcome.FAILED, problem=torn))
    assert (job.state, job.reason.code) == (JobState.FAILED, "invalid_weights")


def test_a_lost_attempt_is_tried_again_after_a_pause_and_at_most_so_often():
    job = a_running_job(limits={"max_failures": 2})
    delays = []
    for attempt in (1, 2):
        job = after(job, AttemptLost(attempt=attempt, problem=LOST, at=NOON))
        assert (job.state, job.reason.code) == (JobState.QUEUED, "retrying")
        delays.append((job.not_before - NOON).total_seconds())
        job = after(job, AttemptClaimed(attempt=attempt + 1, at=NOON))
    job = after(job, AttemptLost(attempt=3, problem=LOST, at=NOON))
    assert [base_s <= delay_s <= base_s * 1.25 for base_s, delay_s in zip((1, 5), delays, strict=True)] == [True, True]
    assert job.state is JobState.FAILED


def test_an_attempt_that_was_stopped_from_outside_is_no_failure_however_often():
    job = a_running_job(limits={"max_failures": 0})
    stopped = Interrupted("interrupted from outside").problem()
    for attempt in (1, 2, 3):
        job = after(job, ended(Outcome.FAILED, attempt=attempt, problem=stopped))
        assert (job.state, job.reason.code) == (JobState.QUEUED, "retrying")
        job = after(job, AttemptClaimed(attempt=attempt + 1, at=NOON))


def test_a_new_attempt_starts_from_the_checkpoint_in_the_record():
    checkpoint = CheckpointRef(path="runs/digits/1/checkpoints/x", digest=DIGEST, epoch=2, step=40, attempt=1)
    job = after(
        a_running_job(),
        said(CheckpointSaved(attempt=1, checkpoint=checkpoint, at=NOON), 5),
        AttemptLost(attempt=1, problem=LOST, at=NOON),
        AttemptClaimed(attempt=2, at=NOON),
    )
    assert job.checkpoint == checkpoint
    assert job.directive().checkpoint == checkpoint.path


def test_a_queued_job_is_cancelled_at_once_and_a_running_one_through_its_directive():
    assert after(a_queued_job(), CancelAsked(at=NOON)).state is JobState.CANCELLED
    running = after(a_running_job(), CancelAsked(at=NOON))
    assert running.state is JobState.CANCELLING
    assert running.directive().wish is Wish.CANCEL
    assert after(running, ended(Outcome.CANCELLED)).state is JobState.CANCELLED


def test_a_job_that_ended_before_it_heard_of_its_cancellation_succeeded():
    assert after(a_running_job(), CancelAsked(at=NOON), ended(Outcome.FINISHED)).state is JobState.SUCCEEDED


def test_an_attempt_lost_while_cancelling_is_a_cancelled_job():
    lost = AttemptLost(attempt=1, problem=LOST, at=NOON)
    assert after(a_running_job(), CancelAsked(at=NOON), lost).state is JobState.CANCELLED


def test_a_running_job_is_paused_through_its_directive_and_resumed_into_the_queue():
    pausing = after(a_running_job(), PauseAsked(at=NOON))
    assert (pausing.state, pausing.directive().wish) == (JobState.PAUSING, Wish.PAUSE)
    assert apply_fact(pausing, PauseAsked(at=at(1))) is pausing
    assert apply_fact(pausing, ResumeAsked(at=at(1))) is pausing
    paused = after(pausing, ended(Outcome.PAUSED))
    assert paused.state is JobState.PAUSED
    resumed = after(paused, ResumeAsked(at=at(60)))
    assert (resumed.state, resumed.directive().wish) == (JobState.QUEUED, Wish.RUN)
    assert after(resumed, AttemptClaimed(attempt=2, at=at(61))).state is JobState.STARTING


def test_a_queued_job_is_paused_at_once():
    paused = after(a_queued_job(), PauseAsked(at=NOON))
    assert (paused.state, paused.reason.text) == (JobState.PAUSED, "stopped before it started")
    assert after(paused, CancelAsked(at=NOON)).state is JobState.CANCELLED


def test_who_fails_while_pausing_is_paused_unless_trying_again_could_not_help():
    pausing = after(a_running_job(limits={"max_failures": 1}), PauseAsked(at=NOON))
    assert after(pausing, AttemptLost(attempt=1, problem=LOST, at=NOON)).state is JobState.PAUSED
    torn = Problem(code="invalid_data", message="torn")
    assert after(pausing, ended(Outcome.FAILED, problem=torn)).state is JobState.FAILED
    assert after(pausing, ended(Outcome.FINISHED)).state is JobState.SUCCEEDED
    assert after(pausing, CancelAsked(at=NOON), ended(Outcome.PAUSED)).state is JobState.CANCELLED


def test_a_pause_is_no_failure_and_no_wait_for_a_teacher():
    awaited = said(TeacherAwaited(attempt=1, teacher="f@1", text="gone", at=NOON), 4)
    job = after(a_running_job(limits={"max_failures": 0}), awaited, PauseAsked(at=NOON))
    assert job.reason.code == "pausing"
    for outcome in (Outcome.WAITED, Outcome.PAUSED):
        paused = after(job, ended(outcome))
        assert (paused.state, paused.teacher_awaited_since) == (JobState.PAUSED, None)


def test_a_paused_job_waits_for_no_generation_until_it_is_resumed():
    paused = after(a_queued_job().model_copy(update={"after": "before-abc234"}), PauseAsked(at=NOON))
    missing = GenerationMissing(problem=LOST, at=NOON)
    assert apply_fact(paused, missing) is paused
    assert after(paused, ResumeAsked(at=NOON), missing).state is JobState.FAILED


def test_a_missing_teacher_is_a_reason_and_no_state():
    waiting = after(
        a_running_job(), said(TeacherAwaited(attempt=1, teacher="f@1", text="no replica answers", at=NOON), 4)
    )
    assert (waiting.state, waiting.reason.code) == (JobState.RUNNING, "waiting_for_teacher")
    assert waiting.reason.text == "waiting for teacher f@1: no replica answers"
    back = after(waiting, said(TeacherReturned(attempt=1, teacher="f@1", at=NOON), 5))
    assert (back.reason.code, back.teacher_awaited_since) == ("training", None)


def test_a_teacher_that_stays_away_for_longer_than_allowed_fails_the_job():
    job = a_running_job(limits={"teacher_wait_s": 600})
    job = after(job, said(TeacherAwaited(attempt=1, teacher="f@1", text="gone", at=NOON), 4))
    early = said(AttemptEnded(attempt=1, outcome=Outcome.WAITED, at=at(300)), 5)
    late = said(AttemptEnded(attempt=1, outcome=Outcome.WAITED, at=at(601)), 5)
    assert after(job, early).state is JobState.QUEUED
    assert after(job, late).state is JobState.FAILED


def test_waiting_for_a_teacher_is_no_failure_of_the_job():
    job = after(a_running_job(limits={"max_failures": 0}), ended(Outcome.WAITED))
    assert job.state is JobState.QUEUED


def test_an_epoch_that_is_run_again_replaces_the_first_one():
    job = a_running_job()
    for number, epoch in enumerate((1, 2, 2), start=5):
        job = after(job, said(EpochEnded(attempt=1, epoch=epoch, metrics={"step": float(number)}, at=NOON), number))
    assert [(one["epoch"], one["step"]) for one in job.epochs] == [(1, 5.0), (2, 7.0)]


def test_of_thousands_of_epochs_the_newest_are_held():
    job = a_running_job()
    for epoch in range(1, EPOCHS_HELD + 3):
        job = after(job, said(EpochEnded(attempt=1, epoch=epoch, metrics={"step": 1.0}, at=NOON), epoch + 5))
    assert [one["epoch"] for one in job.epochs] == list(range(3, EPOCHS_HELD + 3))
    assert job.num_epochs == EPOCHS_HELD + 2


ATTEMPTS = st.integers(1, 4)
WORKER_FACTS = st.one_of(
    st.builds(PhaseReached, attempt=ATTEMPTS, phase=st.sampled_from(Phase), at=st.just(NOON)),
    st.builds(
        AttemptEnded,
        attempt=ATTEMPTS,
        outcome=st.sampled_from(Outcome),
        problem=st.sampled_from([None, LOST, Problem(code="invalid_data", message="torn")]),
        at=st.just(NOON),
    ),
    st.builds(TeacherAwaited, attempt=ATTEMPTS, teacher=st.just("f@1"), text=st.just("gone"), at=st.just(NOON)),
    st.builds(TeacherReturned, attempt=ATTEMPTS, teacher=st.just("f@1"), at=st.just(NOON)),
)
OUR_FACTS = st.one_of(
    st.builds(AttemptClaimed, attempt=ATTEMPTS, at=st.just(NOON)),
    st.builds(AttemptLaunched, attempt=ATTEMPTS, submission_id=st.just("x-1"), at=st.just(NOON)),
    st.builds(AttemptLost, attempt=ATTEMPTS, problem=st.just(LOST), at=st.just(NOON)),
    st.builds(QueueReason, code=st.just("x"), text=st.just("y"), at=st.just(NOON)),
    st.builds(CancelAsked, at=st.just(NOON)),
    st.builds(PauseAsked, at=st.just(NOON)),
    st.builds(ResumeAsked, at=st.just(NOON)),
    st.builds(PrioritySet, priority=st.integers(-2, 2), at=st.just(NOON)),
    st.builds(GenerationReady, teachers=st.just(a_taught_job().teachers), at=st.just(NOON)),
    st.builds(GenerationMissing, problem=st.just(LOST), cancelled=st.booleans(), at=st.just(NOON)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(WORKER_FACTS, OUR_FACTS), max_size=40), st.sampled_from([None, "before-abc234"]))
def test_whatever_comes_the_job_moves_along_its_edges_only(facts: list[JobFact], before: str | None):
    job = a_queued_job().model_copy(update={"after": before})
    for number, fact in enumerate(facts, start=1):
        stamped = said(fact, number) if hasattr(fact, "writer") else fact
        after_it = apply_fact(job, stamped)
        passes_running = job.state is JobState.STARTING and after_it.state is JobState.SUCCEEDED
        assert after_it.state is job.state or after_it.state in EDGES[job.state] or passes_running
        assert after_it.attempt in {job.attempt, job.attempt + 1}
        assert after_it.state.has_attempt <= (after_it.attempt > 0)
        assert not (after_it.state.has_attempt and after_it.awaits_generation)
        job = after_it
