"""The life of a job as one pure function: `apply_fact(record, fact) -> record`.

A fact that is stale (an older attempt, an end state, a number already seen) returns the same record, by identity.
"""

import hashlib
from datetime import datetime, timedelta

from distill.contracts.errors import Problem, errors_by_code
from distill.contracts.facts import (
    AttemptChecked,
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
    WorkerFact,
)
from distill.contracts.records import EPOCHS_HELD, Attempt, JobRecord, JobState, Outcome, Phase, Reason, Wish

EDGES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.STARTING, JobState.PAUSED, JobState.FAILED, JobState.CANCELLED}),
    JobState.STARTING: frozenset(
        {JobState.RUNNING, JobState.QUEUED, JobState.FAILED, JobState.PAUSING, JobState.CANCELLING}
    ),
    JobState.RUNNING: frozenset(
        {JobState.SUCCEEDED, JobState.FAILED, JobState.QUEUED, JobState.PAUSING, JobState.CANCELLING}
    ),
    JobState.PAUSING: frozenset({JobState.PAUSED, JobState.CANCELLING, JobState.FAILED, JobState.SUCCEEDED}),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.SUCCEEDED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}

WAITING_STATES = frozenset({JobState.QUEUED, JobState.STARTING, JobState.PAUSING, JobState.CANCELLING})
"""Those in which the control plane says what a job waits for."""

BACK_OFF_S = (1, 5, 15, 60)
JITTER = 0.25
"""A back-off is longer by up to this share of it, so that jobs which died together don't come back together."""
MAX_BACK_OFF_S = BACK_OFF_S[-1] * (1 + JITTER)

PHASE_REASONS = {
    Phase.LAUNCHED: Reason(code="launched", text="launched, its driver process begins"),
    Phase.STARTED: Reason(code="checking", text="checking data and student"),
    Phase.CHECKED: Reason(code="starting_workers", text="starting workers"),
    Phase.WORKERS_READY: Reason(code="preparing", text="workers are up, preparing the first step"),
    Phase.TRAINING: Reason(code="training", text="training"),
    Phase.TRAINED: Reason(code="measuring", text="measuring on test data"),
    Phase.EVALUATED: Reason(code="exporting", text="exporting the student"),
}


def apply_fact(record: JobRecord, fact: JobFact) -> JobRecord:
    """Return the record after ``fact``; the same record if the fact is stale."""
    if record.state.is_final:
        return record
    match fact:
        case AttemptClaimed():
            return _claimed(record, fact)
        case CancelAsked():
            return _cancel_asked(record, fact)
        case PauseAsked():
            return _pause_asked(record, fact)
        case ResumeAsked():
            return _resume_asked(record, fact)
        case QueueReason() | PrioritySet():
            return _in_queue(record, fact)
        case GenerationReady() | GenerationMissing():
            return _after_generation(record, fact)
        case AttemptLaunched() | AttemptLost():
            if fact.attempt != record.attempt or not record.state.has_attempt:
                return record
            if isinstance(fact, AttemptLost):
                return _ended(record, Outcome.LOST, fact.problem, fact.at)
            return _reached(record, Phase.LAUNCHED, fact.at)
        case _ if isinstance(fact, WorkerFact):
            return _worker_said(record, fact)
    return record


def _claimed(record: JobRecord, fact: AttemptClaimed) -> JobRecord:
    if record.state is not JobState.QUEUED or record.awaits_generation or fact.attempt != record.attempt + 1:
        return record
    attempt = Attempt(number=fact.attempt, phases={Phase.CLAIMED: fact.at})
    return _move(
        record.model_copy(update={"attempts": (*record.attempts, attempt), "not_before": None}),
        JobState.STARTING,
        Reason(code="launching", text=f"launching attempt {fact.attempt} on Ray"),
        fact.at,
    )


def _cancel_asked(record: JobRecord, fact: CancelAsked) -> JobRecord:
    if record.wish is Wish.CANCEL:
        return record
    wished = record.model_copy(update={"wish": Wish.CANCEL, "wished_at": fact.at})
    if record.state in {JobState.QUEUED, JobState.PAUSED}:
        return _move(wished, JobState.CANCELLED, Reason(code="cancelled", text=_kept(wished)), fact.at)
    return _move(
        wished, JobState.CANCELLING, Reason(code="cancelling", text="the workers save a checkpoint and stop"), fact.at
    )


def _pause_asked(record: JobRecord, fact: PauseAsked) -> JobRecord:
    if record.wish is not Wish.RUN:
        return record
    wished = record.model_copy(update={"wish": Wish.PAUSE, "wished_at": fact.at})
    if record.state is JobState.QUEUED:
        return _paused(wished, fact.at)
    text = "the workers save a checkpoint and give their resources back"
    return _move(wished, JobState.PAUSING, Reason(code="pausing", text=text), fact.at)


def _resume_asked(record: JobRecord, fact: ResumeAsked) -> JobRecord:
    if record.state is not JobState.PAUSED:
        return record
    wished = record.model_copy(update={"wish": Wish.RUN, "wished_at": fact.at, "not_before": fact.at})
    return _move(wished, JobState.QUEUED, Reason(code="queued", text="waiting for its turn"), fact.at)


def _in_queue(record: JobRecord, fact: QueueReason | PrioritySet) -> JobRecord:
    if isinstance(fact, PrioritySet):
        if fact.priority == record.priority:
            return record
        return record.model_copy(update={"priority": fact.priority, "updated_at": fact.at})
    reason = Reason(code=fact.code, text=fact.text)
    if record.state not in WAITING_STATES or record.reason == reason:
        return record
    return record.model_copy(update={"reason": reason, "updated_at": fact.at})


def _after_generation(record: JobRecord, fact: GenerationReady | GenerationMissing) -> JobRecord:
    if not record.awaits_generation or record.state is not JobState.QUEUED:
        return record
    if isinstance(fact, GenerationReady):
        taught = record.model_copy(update={"teachers": fact.teachers, "not_before": fact.at})
        return _reason(taught, Reason(code="queued", text="waiting for its turn"), fact.at)
    reason = Reason(code=fact.problem.code, text=fact.problem.message)
    return _move(record, JobState.CANCELLED if fact.cancelled else JobState.FAILED, reason, fact.at)


def _worker_said(record: JobRecord, fact: WorkerFact) -> JobRecord:
    if fact.attempt != record.attempt or not record.state.has_attempt:
        return record
    if fact.number <= record.attempts[-1].seen.get(fact.writer, 0):
        return record
    seen = {**record.attempts[-1].seen, fact.writer: fact.number}
    record = _with_attempt(record, seen=seen)
    match fact:
        case PhaseReached():
            return _reached(record, fact.phase, fact.at)
        case AttemptChecked():
            checked = record.model_copy(update={"dataset": fact.dataset, "num_steps": fact.num_steps})
            return _reached(checked, Phase.CHECKED, fact.at)
        case TeacherAwaited():
            since = record.teacher_awaited_since or fact.at
            waiting = record.model_copy(update={"teacher_awaited_since": since})
            text = f"waiting for teacher {fact.teacher}: {fact.text}"
            return _reason(waiting, Reason(code="waiting_for_teacher", text=text), fact.at)
        case TeacherReturned():
            returned = record.model_copy(update={"teacher_awaited_since": None})
            return _reason(returned, PHASE_REASONS[Phase.TRAINING], fact.at)
        case EpochEnded():
            kept = [epoch for epoch in record.epochs if epoch["epoch"] < fact.epoch]
            newest = (*kept, fact.metrics | {"epoch": fact.epoch})[-EPOCHS_HELD:]
            return record.model_copy(update={"epochs": newest, "updated_at": fact.at})
        case CheckpointSaved():
            return record.model_copy(update={"checkpoint": fact.checkpoint, "updated_at": fact.at})
        case AttemptEnded():
            return _ended(record.model_copy(update={"result": fact.result}), fact.outcome, fact.problem, fact.at)


def _reached(record: JobRecord, phase: Phase, at: datetime) -> JobRecord:
    phases = record.attempts[-1].phases
    if phase not in phases:
        record = _with_attempt(record, phases={**phases, phase: at})
    if phase is Phase.WORKERS_READY and record.state is JobState.STARTING:
        return _move(record, JobState.RUNNING, PHASE_REASONS[phase], at)
    return _reason(record, PHASE_REASONS.get(phase, record.reason), at)


def _ended(record: JobRecord, outcome: Outcome, problem: Problem | None, at: datetime) -> JobRecord:
    phases = {**record.attempts[-1].phases, Phase.ENDED: at}
    record = _with_attempt(record, phases=phases, outcome=outcome, problem=problem)
    if outcome is Outcome.FINISHED:
        if record.state is JobState.STARTING:
            record = _move(record, JobState.RUNNING, record.reason, at)
        return _move(record, JobState.SUCCEEDED, Reason(code="finished", text="the student is trained"), at)
    if record.wish is Wish.CANCEL:
        return _move(record, JobState.CANCELLED, Reason(code="cancelled", text=_kept(record)), at)
    if outcome not in {Outcome.PAUSED, Outcome.WAITED} and (reason := _why_given_up(record, outcome, problem)):
        return _move(record, JobState.FAILED, reason, at)
    if record.wish is Wish.PAUSE:
        return _paused(record, at)
    if outcome is Outcome.WAITED:
        return _waited(record, at)
    return _try_again(record, outcome, problem, at)


def _paused(record: JobRecord, at: datetime) -> JobRecord:
    # who is paused awaits no teacher: that begins anew
    awaiting_nobody = record.model_copy(update={"teacher_awaited_since": None})
    return _move(awaiting_nobody, JobState.PAUSED, Reason(code="paused", text=_kept(record)), at)


def _waited(record: JobRecord, at: datetime) -> JobRecord:
    waited_s = (at - record.teacher_awaited_since).total_seconds() if record.teacher_awaited_since else 0.0
    if waited_s >= record.spec.limits.teacher_wait_s:
        text = f"no teacher answered for {waited_s:.0f} s (limits.teacher_wait_s is {record.spec.limits.teacher_wait_s:.0f})"
        return _move(record, JobState.FAILED, Reason(code="teacher_unavailable", text=text), at)
    return _queue_again(
        record,
        Reason(code="waiting_for_teacher", text="gave its resources back until a teacher answers"),
        at,
        delay_s=5,
    )


def _why_given_up(record: JobRecord, outcome: Outcome, problem: Problem | None) -> Reason | None:
    """The reason of a failure that no further attempt follows; None where one does."""
    reason, limits = _reason_of(outcome, problem), record.spec.limits
    if is_users(reason.code):
        return reason
    if record.attempts[-1].was_preempted:
        return reason if _num_preempted(record) > limits.max_preemptions else None
    return reason if _num_failures(record) > limits.max_failures else None


def _try_again(record: JobRecord, outcome: Outcome, problem: Problem | None, at: datetime) -> JobRecord:
    tries = _num_preempted(record) if record.attempts[-1].was_preempted else _num_failures(record)
    delay_s = back_off_s(record.id, record.attempt, tries)
    text = f"{_reason_of(outcome, problem).text}; trying again in {delay_s:.0f} s"
    return _queue_again(record, Reason(code="retrying", text=text), at, delay_s=delay_s)


def _reason_of(outcome: Outcome, problem: Problem | None) -> Reason:
    if problem is not None:
        return Reason(code=problem.code, text=problem.message)
    return Reason(code=outcome.value, text=f"the attempt ended as {outcome.value}")


def back_off_s(job: str, attempt: int, tries: int) -> float:
    """Seconds before the attempt after ``attempt``, when it is the ``tries``-th that ended for such a reason.

    Longer from try to try, and a little longer for some jobs than for others, yet always the same for the same attempt.
    """
    base_s = BACK_OFF_S[max(0, min(tries, len(BACK_OFF_S)) - 1)]
    drawn = int.from_bytes(hashlib.sha256(f"{job}-{attempt}".encode()).digest()[:4], "big") / 2**32
    return base_s * (1 + JITTER * drawn)


def _num_failures(record: JobRecord) -> int:
    """Who waited for a teacher, paused or was preempted has not failed."""
    harmless = {None, Outcome.WAITED, Outcome.PAUSED}
    return sum(one.outcome not in harmless and not one.was_preempted for one in record.attempts)


def _num_preempted(record: JobRecord) -> int:
    return sum(attempt.was_preempted for attempt in record.attempts)


def _queue_again(record: JobRecord, reason: Reason, at: datetime, *, delay_s: float) -> JobRecord:
    return _move(record.model_copy(update={"not_before": at + timedelta(seconds=delay_s)}), JobState.QUEUED, reason, at)


def is_users(code: str) -> bool:
    """Whether trying again without a change can't help."""
    kind = errors_by_code().get(code)
    return kind is not None and kind.is_users


def _kept(record: JobRecord) -> str:
    if not record.attempts:
        return "stopped before it started"
    if record.checkpoint is None:
        return "stopped before the first checkpoint"
    return f"stopped; a checkpoint of step {record.checkpoint.step} is kept"


def _with_attempt(record: JobRecord, **changes: object) -> JobRecord:
    newest = record.attempts[-1].model_copy(update=changes)
    return record.model_copy(update={"attempts": (*record.attempts[:-1], newest)})


def _reason(record: JobRecord, reason: Reason, at: datetime) -> JobRecord:
    if record.state in {JobState.CANCELLING, JobState.PAUSING}:
        reason = record.reason
    return record.model_copy(update={"reason": reason, "updated_at": at})


def _move(record: JobRecord, state: JobState, reason: Reason, at: datetime) -> JobRecord:
    assert state in EDGES[record.state], f"no edge from {record.state} to {state}"  # noqa: S101 - a bug of ours
    ended_at = at if state.is_final else None
    return record.model_copy(update={"state": state, "reason": reason, "updated_at": at, "ended_at": ended_at})
