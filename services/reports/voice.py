"""The ensemble that a report holds every model against: the teachers of the first generation."""

from collections.abc import Sequence
from dataclasses import dataclass

from distill.contracts.measures import AttemptResult, Predictions
from distill.contracts.records import JobRecord
from services.reports.models import agreement_with_ensemble
from services.reports.runs import Run


@dataclass(frozen=True)
class Voice:
    """Teachers, and what one of their students heard of them."""

    job: JobRecord
    result: AttemptResult | None
    predictions: Predictions | None


def voice_of(runs: Sequence[Run]) -> Voice | None:
    """The first generation's teachers; None where it has none: later teachers are students of the same study."""
    first = min(run.child.generation for run in runs)
    taught = [run for run in runs if run.child.generation == first and run.child.role == "student" and run.job.teachers]
    if not taught:
        return None
    heard = next((run for run in taught if run.result is not None), taught[0])
    return Voice(heard.job, heard.result, heard.predictions)


def agreement_of(run: Run, voice: Voice) -> float | None:
    """Share of test rows on which the run's model names the class that the ensemble names; None where unknown."""
    same_teachers = run.job.teachers == voice.job.teachers
    if same_teachers and run.result is not None and run.result.agreement is not None:
        return run.result.agreement
    return agreement_with_ensemble(run.predictions, voice.predictions)
