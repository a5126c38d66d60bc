"""What a reader must know before trusting a report's figures."""

from collections.abc import Iterator, Sequence

from distill.contracts.measures import Size
from distill.contracts.records import JobState
from distill.contracts.report import Comparison, ReportJob, ReportModel
from services.reports.headline import failure
from services.reports.words import count, listing, points, seconds


def caveats(
    models: Sequence[ReportModel], comparisons: Sequence[Comparison], jobs: Sequence[ReportJob]
) -> tuple[str, ...]:
    """Failures first, then what was seen in training, then how figures were taken."""
    return (
        *(failure(job) for job in jobs if job.state is not JobState.SUCCEEDED),
        *_labels(models),
        *_overlaps(models),
        *_steps(models),
        *_noise(comparisons),
        *_attempts(jobs),
        *_latency(models),
    )


def _labels(models: Sequence[ReportModel]) -> Iterator[str]:
    student = next(model.learned_from for model in models if model.role == "student")
    members = [model.learned_from.num_labels for model in models if model.role == "member" and model.learned_from]
    if student is not None and members and max(members) > student.num_labels:
        yield (
            f"The comparison with the baseline is one of {count(student.num_labels, 'label')} each; "
            f"the ensemble's members learned from up to {count(max(members), 'label')} of their own."
        )


def _overlaps(models: Sequence[ReportModel]) -> Iterator[str]:
    members = [model for model in models if model.role == "member"]
    for member in members:
        seen = member.learned_from.overlap_rows if member.learned_from else None
        if seen:
            yield f"{member.name} learned from rows that the student uses too: {count(seen, 'row')} lie in both ranges."
    unknown = [m.name for m in members if m.learned_from is None or m.learned_from.overlap_rows is None]
    if unknown:
        yield (
            f"Whether {listing(unknown)} saw the student's rows, or the test rows, isn't known: "
            "the weights came from a file, or were trained on another data set."
        )


def _steps(models: Sequence[ReportModel]) -> Iterator[str]:
    steps = {m.role: m.learned_from.steps for m in models if m.learned_from and m.role in {"student", "baseline"}}
    student, baseline = steps.get("student"), steps.get("baseline")
    if student is not None and baseline is not None and student != baseline:
        yield f"Steps differ: {count(student)} for the student, {count(baseline)} for its baseline."


def _noise(comparisons: Sequence[Comparison]) -> Iterator[str]:
    if comparisons:
        noise = listing([f"±{points(c.noise)} beside the {c.role}" for c in comparisons])
        yield (
            f"Noise is two standard errors of the difference of two accuracies on the test rows: {noise}. "
            "It doesn't hold the spread between training seeds: each model here was trained once."
        )


def _attempts(jobs: Sequence[ReportJob]) -> Iterator[str]:
    for job in jobs:
        if job.attempts > 1:
            yield (
                f"The {job.role} took {job.attempts} attempts; times by phase are those of the last, "
                "and its 'claimed' holds all before it."
            )
        if job.teacher_wait_s >= 1:
            yield f"The {job.role} stood still for {seconds(job.teacher_wait_s)}, waiting for teachers."


def _latency(models: Sequence[ReportModel]) -> Iterator[str]:
    sizes = [model.size for model in models if model.size is not None]
    if sizes:
        places = listing(sorted({_place(size) for size in sizes}))
        yield f"Latencies are medians on {places}; other jobs may have run on the same machine meanwhile."


def _place(size: Size) -> str:
    return f"{size.latency_device} with {count(size.latency_threads, 'thread')}"
