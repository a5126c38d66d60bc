"""The first line of a report: what was gained or lost, what of the ensemble was kept, how much smaller."""

from collections.abc import Sequence

from distill.contracts.measures import Quality
from distill.contracts.records import JobState
from distill.contracts.report import Comparison, ModelRole, ReportJob, ReportModel
from services.reports.words import count, listing, percent, points, sentence, size_words


def headline(models: Sequence[ReportModel], comparisons: Sequence[Comparison], jobs: Sequence[ReportJob]) -> str:
    """One or more plain sentences; a job that did not succeed is named first."""
    failures = "".join(f"{failure(job)} " for job in jobs if job.state is not JobState.SUCCEEDED)
    student, baseline = _quality(models, "student"), _quality(models, "baseline")
    if student is None:
        return (failures + _without_student(models)).rstrip()
    against_baseline = _find(comparisons, "baseline")
    if against_baseline is not None and baseline is not None:
        first = _gained(against_baseline, student, baseline)
    else:
        first = _reached(models, student, is_study=len(jobs) > 1)
    return failures + sentence(first, _kept(models, _find(comparisons, "ensemble")))


def failure(job: ReportJob) -> str:
    """The sentence that names a job which did not succeed, and why."""
    ended = {JobState.FAILED: "failed", JobState.CANCELLED: "was cancelled"}.get(job.state, f"is {job.state.lower()}")
    why = job.problem.message if job.problem else job.reason
    return f"The {job.role} {ended}: {' '.join(why.split()).rstrip('.')}."


def _gained(comparison: Comparison, student: Quality, baseline: Quality) -> str:
    reached, of_baseline = percent(student.accuracy), percent(baseline.accuracy)
    rows = count(student.num_rows, "test row")
    if comparison.accuracy_gain == 0:
        return f"the student is no better than its baseline: both reach {reached} on {rows}"
    if comparison.verdict == "within_noise":
        return (
            f"the student is no better than its baseline: {reached} against {of_baseline}, "
            f"within the noise of {rows} (±{points(comparison.noise)})"
        )
    gap = points(comparison.accuracy_gain)
    if comparison.verdict == "better":
        return f"distillation gained {gap}: the student reaches {reached} on {rows}, its baseline {of_baseline}"
    return f"distillation lost {gap}: the student reaches {reached} on {rows}, its baseline {of_baseline}"


def _reached(models: Sequence[ReportModel], student: Quality, *, is_study: bool) -> str:
    reached = f"the student reaches {percent(student.accuracy)} on {count(student.num_rows, 'test row')}"
    if not any(model.role == "ensemble" for model in models):
        labels = next(model.learned_from for model in models if model.role == "student")
        return f"taught by {count(labels.num_labels, 'label')} alone, {reached}" if labels else reached
    why = "the baseline left no result" if is_study else "there is no baseline"
    return f"{reached}; {why}, so what distillation gained isn't known"


def _kept(models: Sequence[ReportModel], comparison: Comparison | None) -> str | None:
    ensemble = _quality(models, "ensemble")
    if comparison is None or ensemble is None or comparison.retention is None:
        return None
    theirs = f"the ensemble's {percent(ensemble.accuracy)}"
    if comparison.verdict == "better":
        kept = f"it exceeds {theirs} by {points(comparison.accuracy_gain)}"
    elif comparison.verdict == "within_noise":
        kept = f"it matches {theirs} within the noise"
    else:
        kept = f"it keeps {percent(comparison.retention)} of {theirs}"
    size = size_words(comparison.size_reduction)
    return f"{kept} and is {size}" if size else f"{kept} at the same size"


def _without_student(models: Sequence[ReportModel]) -> str:
    measured = [
        f"the {model.role} reaches {percent(model.quality.accuracy)}"
        for model in models
        if model.quality is not None and model.role in {"ensemble", "baseline"}
    ]
    return sentence("there is no student to compare", listing(measured))


def _quality(models: Sequence[ReportModel], role: ModelRole) -> Quality | None:
    return next((model.quality for model in models if model.role == role), None)


def _find(comparisons: Sequence[Comparison], role: ModelRole) -> Comparison | None:
    return next((comparison for comparison in comparisons if comparison.role == role), None)
