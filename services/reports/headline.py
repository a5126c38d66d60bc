"""The first line of a report: what was gained or lost, what of the ensemble was kept, how much smaller."""

from collections.abc import Sequence

from distill.contracts.records import JobState
from distill.contracts.report import Comparison, Frontier, ModelRole, ReportJob, ReportModel
from services.reports.lines import last_generations
from services.reports.words import count, label, listing, percent, points, sentence, size_words

MOST_FAILURES = 3


def headline(
    models: Sequence[ReportModel],
    comparisons: Sequence[Comparison],
    jobs: Sequence[ReportJob],
    front: Frontier | None = None,
) -> str:
    """One or more plain sentences; jobs that did not succeed are named first, then whether distilling paid."""
    students = last_generations([model for model in models if model.role == "student"])
    measured = [student for student in students if student.quality is not None]
    if not measured:
        said = _without_student(models)
    elif len(students) > 1:
        said = _of_sizes(measured, comparisons, front)
    else:
        said = _of_one(measured[0], models, comparisons, jobs)
    return f"{_failures(jobs)}{said}".rstrip()


def failure(job: ReportJob) -> str:
    """The sentence that names a job which did not succeed, and why."""
    ended = {JobState.FAILED: "failed", JobState.CANCELLED: "was cancelled"}.get(job.state, f"is {job.state.lower()}")
    why = job.problem.message if job.problem else job.reason
    return f"The {job_name(job)} {ended}: {' '.join(why.split()).rstrip('.')}."


def job_name(job: ReportJob) -> str:
    """Such as ``student``, or ``student (w16, seed 1)``."""
    which = label(job.point, job.generation, job.seed)
    return f"{job.role} ({which})" if which else job.role


def _failures(jobs: Sequence[ReportJob]) -> str:
    failed = [job for job in jobs if job.state is not JobState.SUCCEEDED]
    named = "".join(f"{failure(job)} " for job in failed[:MOST_FAILURES])
    unnamed = len(failed) - MOST_FAILURES
    return named + (f"{count(unnamed, 'more job')} did not succeed. " if unnamed > 0 else "")


def _of_one(
    student: ReportModel, models: Sequence[ReportModel], comparisons: Sequence[Comparison], jobs: Sequence[ReportJob]
) -> str:
    against_baseline = _find(comparisons, student, "baseline")
    named = against_baseline.name if against_baseline is not None else None
    baseline = next((m for m in reversed(models) if m.role in {"student", "baseline"} and m.name == named), None)
    if against_baseline is not None and baseline is not None:
        first = _gained(against_baseline, student, baseline)
    else:
        first = _reached(student, jobs)
    return sentence(first, _before(student, models), _kept(student, models, _find(comparisons, student, "ensemble")))


def _gained(comparison: Comparison, student: ReportModel, baseline: ReportModel) -> str:
    who, reached, of_baseline = _who(student), _accuracy(student), _accuracy(baseline)
    if comparison.verdict == "within_noise":
        return f"{who} is no better than its baseline: {_alike(comparison, student, reached, of_baseline)}"
    word = "gained" if comparison.verdict == "better" else "lost"
    over = f" ({_certainty(comparison)})" if comparison.differences else ""
    gap = points(comparison.accuracy_gain)
    return f"distillation {word} {gap}{over}: {who} reaches {reached} on {_rows(student)}, its baseline {of_baseline}"


def _certainty(comparison: Comparison) -> str:
    """The noise over seeds; that of the test rows too, where it is greater than the gap."""
    over = f"±{points(comparison.noise)} over {count(len(comparison.differences), 'seed')}"
    rows = comparison.row_noise or 0.0
    if abs(comparison.accuracy_gain) > rows:
        return over
    return f"{over}, though other test rows alone may change it by {points(rows)}"


def _alike(comparison: Comparison, student: ReportModel, reached: str, of_baseline: str) -> str:
    if comparison.accuracy_gain == 0:
        return f"both reach {reached} on {_rows(student)}"
    noise = f"±{points(comparison.noise)}"
    if comparison.differences:
        num_seeds = count(len(comparison.differences), "seed")
        return f"{reached} against {of_baseline} on {_rows(student)}, within the noise of {num_seeds} ({noise})"
    return f"{reached} against {of_baseline}, within the noise of {_rows(student)} ({noise})"


def _reached(student: ReportModel, jobs: Sequence[ReportJob]) -> str:
    reached = f"{_who(student)} reaches {_accuracy(student)} on {_rows(student)}"
    if all(job.spec.learns_from_labels_alone for job in jobs if job.role == "student"):
        facts = student.learned_from
        return f"taught by {count(facts.num_labels, 'label')} alone, {reached}" if facts else reached
    why = "the baseline left no result" if any(job.role == "baseline" for job in jobs) else "there is no baseline"
    return f"{reached}; {why}, so what distillation gained isn't known"


def _before(student: ReportModel, models: Sequence[ReportModel]) -> str | None:
    """What the first generation reached, where this is a later one."""
    first = next((model for model in models if model.role == "student"), student)
    if student.generation is None or first.generation == student.generation or first.quality is None:
        return None
    return f"generation {first.generation} reached {_accuracy(first)}"


def _kept(student: ReportModel, models: Sequence[ReportModel], comparison: Comparison | None) -> str | None:
    ensemble = next((model for model in models if model.role == "ensemble"), None)
    if comparison is None or ensemble is None or comparison.retention is None:
        return None
    theirs = f"the ensemble's {_accuracy(ensemble)}"
    if comparison.verdict == "better":
        kept = f"it exceeds {theirs} by {points(comparison.accuracy_gain)}"
    elif comparison.verdict == "within_noise":
        kept = f"it matches {theirs} within the noise"
    else:
        kept = f"it keeps {percent(comparison.retention)} of {theirs}"
    size = size_words(comparison.size_reduction)
    return f"{kept} and is {size}" if size else f"{kept} at the same size"


def _of_sizes(students: Sequence[ReportModel], comparisons: Sequence[Comparison], front: Frontier | None) -> str:
    compared = [found for student in students if (found := _find(comparisons, student, "baseline")) is not None]
    said = sentence(*_gained_by_size(compared))
    return f"{said} {front.sentence}" if front is not None else said


def _gained_by_size(compared: Sequence[Comparison]) -> list[str]:
    if not compared:
        return ["no size has a baseline with a result, so what distillation gained isn't known"]
    better = [c for c in compared if c.verdict == "better"]
    worse = [c for c in compared if c.verdict == "worse"]
    sizes = count(len(compared), "size")
    if len(better) == len(compared):
        at = {1: sizes, 2: "both sizes"}.get(len(compared), f"all {sizes}")
        return [f"distillation gained {_range(better)} at {at}, each over its own baseline"]
    others = [c.point or "" for c in compared if c.verdict != "better"]
    at = f"any of {sizes}" if not better else f"{len(others)} of {sizes} ({listing(others)})"
    return [
        f"the student is no better than its baseline at {at}",
        *([f"it lost {_range(worse)} at {listing([c.point or '' for c in worse])}"] if worse else []),
        *([f"distillation gained {_range(better)} at {listing([c.point or '' for c in better])}"] if better else []),
    ]


def _range(comparisons: Sequence[Comparison]) -> str:
    gaps = sorted(abs(comparison.accuracy_gain) for comparison in comparisons)
    least, most = points(gaps[0]), points(gaps[-1])
    return most if least == most else f"{least.split()[0]} to {most}"


def _without_student(models: Sequence[ReportModel]) -> str:
    measured = [
        f"the {model.role} reaches {_accuracy(model)}"
        for model in models
        if model.quality is not None
        and (model.role == "ensemble" or (model.role == "baseline" and model.point is None))
    ]
    return sentence("there is no student to compare", listing(measured))


def _who(student: ReportModel) -> str:
    which = label(student.point, student.generation)
    return (
        f"the student of {which}"
        if student.generation is not None and not student.point
        else f"the student {which}".rstrip()
    )


def _rows(student: ReportModel) -> str:
    num_rows = count(student.quality.num_rows if student.quality else 0, "test row")
    return f"{num_rows} (mean of {len(student.seeds)} seeds)" if len(student.seeds) > 1 else num_rows


def _accuracy(model: ReportModel) -> str:
    return percent(model.quality.accuracy) if model.quality else "an unknown accuracy"


def _find(comparisons: Sequence[Comparison], student: ReportModel, role: ModelRole) -> Comparison | None:
    mine = [c for c in comparisons if (c.point, c.generation) == (student.point, student.generation)]
    return next((comparison for comparison in mine if comparison.role == role), None)
