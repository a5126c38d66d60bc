"""What followers see, in words: one line for each fact worth a person's attention.

Epochs that were not validated pass in silence: live figures say how they go.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from distill.contracts import facts
from distill.contracts.events import Event, Snapshot
from distill.contracts.records import Outcome, Phase

PHASES = {
    Phase.STARTED: "its driver runs; reading the data",
    Phase.WORKERS_READY: "workers are ready",
    Phase.TEACHER_READY: "the teacher's first answer came",
    Phase.TRAINING: "the first step is done",
    Phase.TRAINED: "trained; measuring on test data",
    Phase.EVALUATED: "measured; exporting",
    Phase.EXPORTED: "exported",
}
"""Those that other facts say already are left out."""

FEW = 3
"""So many reused jobs are named."""

ON_THE_WAY = (facts.JobCreated, facts.QueueReason, facts.PhaseReached, facts.AttemptChecked, facts.EpochEnded)
"""What happens between a job's beginning and its end when all goes well."""

OUTCOMES = {
    Outcome.FINISHED: "finished",
    Outcome.FAILED: "failed",
    Outcome.CANCELLED: "stopped, as was asked",
    Outcome.PAUSED: "paused",
    Outcome.WAITED: "gave its resources back, for want of a teacher",
    Outcome.LOST: "was lost",
}


def tell(event: Event, *, who: str, of_many: bool = False) -> str | None:
    """The event as a line; None where it says nothing new to a person.

    Of one of many jobs only how it begins and ends is told.
    """
    if of_many and isinstance(event.fact, ON_THE_WAY):
        return None
    words = _of_generations(event) or _words(event)
    return None if words is None else f"{_time(event)} {who}: {words}"


def catch_up(snapshot: Snapshot, names: Mapping[str, str], *, of_many: bool = False) -> Iterator[str]:
    """Lines in the place of events that are kept no more: that they are, and, unless of many jobs, where each stands."""
    yield "         what came before is kept no more; this is how things stand:"
    if of_many:
        return
    for key, job in snapshot.jobs.items():
        yield f"         {names.get(job.id) or key}: {job.state.value.lower()}: {job.reason.text}"


def _words(event: Event) -> str | None:
    match event.fact:
        case facts.JobCreated():
            return "queued"
        case facts.AttemptClaimed(attempt=number):
            return "starting" if number == 1 else f"starting attempt {number}"
        case facts.PhaseReached(phase=phase):
            return PHASES.get(phase)
        case facts.AttemptChecked(dataset=data, num_steps=num_steps):
            return f"{data.source}: {data.num_train:,} rows, {data.num_labelled:,} labels; {num_steps:,} steps"
        case facts.TeacherAwaited(teacher=teacher, text=text):
            return f"waits for teacher {teacher}: {text}"
        case facts.TeacherReturned(teacher=teacher):
            return f"teacher {teacher} answers again"
        case facts.EpochEnded(epoch=epoch, metrics=metrics) if metrics.get("validation_accuracy") is not None:
            return f"epoch {epoch}: {_figures(metrics)}"
        case facts.AttemptEnded(outcome=outcome, problem=problem):
            return OUTCOMES[outcome] + (f": {problem.message}" if problem else "")
        case facts.AttemptLost(problem=problem):
            return f"attempt lost: {problem.message}"
        case facts.QueueReason(text=text):
            return text
        case facts.CancelAsked() | facts.PrioritySet():
            return _asked(event.fact)
        case facts.StudyReported():
            return "the report is written"
    return None


def _asked(fact: facts.CancelAsked | facts.PrioritySet) -> str:
    return f"has priority {fact.priority} now" if isinstance(fact, facts.PrioritySet) else "asked to end"


def _of_generations(event: Event) -> str | None:
    match event.fact:
        case facts.GenerationReady(teachers=teachers):
            return f"has its teacher, {', '.join(teacher.reference for teacher in teachers)}"
        case facts.GenerationMissing(problem=problem):
            return problem.message
        case facts.BaselinesReused(jobs=jobs):
            more = f" and {len(jobs) - FEW} more" if len(jobs) > FEW else ""
            return f"reuses {', '.join(f'{job} as {key}' for key, job in list(jobs.items())[:FEW])}{more}"
    return None


def _figures(metrics: dict[str, float]) -> str:
    """The metrics of an epoch that a person looks at first."""
    loss = f"loss {metrics['train_loss']:.4f}, " if "train_loss" in metrics else ""
    return f"{loss}validation accuracy {100 * metrics['validation_accuracy']:.1f} %"


def _time(event: Event) -> str:
    at: datetime = event.fact.at
    return f"{at.astimezone():%H:%M:%S}"
