"""What a reader must know before trusting a report's figures."""

from collections.abc import Iterator, Sequence

from distill.contracts.measures import Size
from distill.contracts.objective import FeatureTerm, LabelsTerm, ResponseTerm
from distill.contracts.records import JobState
from distill.contracts.report import Comparison, Frontier, ModelRole, ReportJob, ReportModel
from distill.contracts.schedules import extremes
from distill.contracts.teachers import ResolvedTeacher, twins
from services.reports.headline import failure, job_name
from services.reports.models import member_name
from services.reports.words import count, label, listing, points, seconds

MANY_JOBS = 4
_T_95 = {2: 12.7, 3: 4.3, 4: 3.2, 5: 2.8}
"""Number of seeds -> standard errors that hold 95 % of Student's t distribution, on both sides."""


def caveats(
    models: Sequence[ReportModel],
    comparisons: Sequence[Comparison],
    jobs: Sequence[ReportJob],
    front: Frontier | None = None,
    teachers: Sequence[ResolvedTeacher] = (),
) -> tuple[str, ...]:
    """Failures first, then what was seen in training, then how figures were taken."""
    return (
        *(failure(job) for job in jobs if job.state is not JobState.SUCCEEDED),
        *_untaught_answers(jobs),
        *_twins(teachers),
        *_labels(models),
        *_overlaps(models),
        *_steps(models),
        *_early_ends(jobs),
        *_reused(jobs),
        *_noise_of_rows([comparison for comparison in comparisons if not comparison.differences]),
        *_noise_of_seeds([comparison for comparison in comparisons if comparison.differences]),
        *_choice(front),
        *_attempts(jobs),
        *_waits(jobs),
        *_latency(models),
    )


def _untaught_answers(jobs: Sequence[ReportJob]) -> Iterator[str]:
    for job in jobs:
        reaching = [
            term
            for term in job.spec.objective
            if isinstance(term, LabelsTerm | ResponseTerm) and term.at is None and extremes(term.weight)[1] > 0
        ]
        heads = [pair for term in job.spec.objective if isinstance(term, FeatureTerm) for pair in term.pairs]
        if not reaching and not any(pair.student == "head" for pair in heads):
            yield (
                f"No term of {job_name(job)} reaches the student's last layer: its answers are those of the weights that "
                "it started from. As a first stage of another job (init_from) that is meant so."
            )


def _twins(teachers: Sequence[ResolvedTeacher]) -> Iterator[str]:
    named = [
        (member_name(teacher, position), member)
        for teacher in teachers
        for position, member in enumerate(teacher.manifest.members)
    ]
    for positions in twins([member for _, member in named]):
        yield (
            f"{listing([named[position][0] for position in positions])} are one network, with equal weights: what an ensemble "
            "gains over one of its members can't be seen here."
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
    taken = {(m.role, m.point, m.generation): m.learned_from.steps for m in models if m.learned_from is not None}
    for (role, point, generation), mine in taken.items():
        theirs = taken.get(("baseline", point, generation)) or taken.get(("baseline", point, None))
        if role == "student" and mine is not None and theirs is not None and mine != theirs:
            which = label(point, generation)
            at = f" at {which}" if which else ""
            yield f"Steps differ{at}: {count(mine)} for the student, {count(theirs)} for its baseline."


def _early_ends(jobs: Sequence[ReportJob]) -> Iterator[str]:
    """Where early stopping gave a student and its baseline of the same seed unequal budgets."""
    pairs = [(job, baseline) for job in jobs if (baseline := _baseline_of(job, jobs)) is not None]
    unequal = [
        (student, baseline)
        for student, baseline in pairs
        if student.curve[-1].epoch != baseline.curve[-1].epoch and (student.stopped_early or baseline.stopped_early)
    ]
    for student, baseline in unequal[:MANY_JOBS]:
        yield (
            f"Early stopping ended the {job_name(student)} after epoch {student.curve[-1].epoch}, and the {job_name(baseline)} "
            f"after epoch {baseline.curve[-1].epoch}: their budgets are not equal."
        )
    if len(unequal) > MANY_JOBS:
        yield f"So it is with {count(len(unequal) - MANY_JOBS, 'more pair')} of a student and its baseline."


def _baseline_of(student: ReportJob, jobs: Sequence[ReportJob]) -> ReportJob | None:
    """What labels alone taught the same network with the same seed: the baseline, or else the first generation."""
    if student.role != "student" or not student.curve or student.spec.learns_from_labels_alone:
        return None
    mine = (student.point, student.spec.training.seed)
    alike = [job for job in jobs if job.curve and (job.point, job.spec.training.seed) == mine]
    untaught = [job for job in alike if job.spec.learns_from_labels_alone]
    return min(untaught, key=lambda job: job.role != "baseline", default=None)


def _reused(jobs: Sequence[ReportJob]) -> Iterator[str]:
    reused = [job for job in jobs if job.reused_from is not None]
    if reused:
        studies = listing(sorted({job.reused_from or "" for job in reused}))
        yield (
            f"{count(len(reused), 'baseline')} of {studies} reused: the same student, data, labels, steps and seed; times and "
            "latencies are of then."
        )


def _noise_of_rows(comparisons: Sequence[Comparison]) -> Iterator[str]:
    if comparisons:
        yield (
            f"Noise is two standard errors of the difference of two accuracies on the test rows: {_noises(comparisons)}. "
            "It doesn't hold the spread between training seeds: each model here was trained once."
        )


def _noise_of_seeds(comparisons: Sequence[Comparison]) -> Iterator[str]:
    if not comparisons:
        return
    rows = max(comparison.row_noise or 0.0 for comparison in comparisons)
    yield (
        f"Noise is two standard errors of the mean difference over seeds, student and baseline paired by seed: "
        f"{_noises(comparisons)}. It holds what training seeds change, not what other test rows would: by their number "
        f"alone two standard errors are up to ±{points(rows)}."
        f"{' The ensemble is one training: its own spread is not known.' if _has_ensemble(comparisons) else ''}"
    )
    fewest = min(len(comparison.differences) for comparison in comparisons)
    if fewest in _T_95:
        yield (
            f"{count(fewest, 'seed')} say little of a spread: for 95 % certainty Student's t asks for "
            f"{_T_95[fewest]} standard errors, not for two."
        )


def _has_ensemble(comparisons: Sequence[Comparison]) -> bool:
    return any(comparison.role == "ensemble" for comparison in comparisons)


def _noises(comparisons: Sequence[Comparison]) -> str:
    roles: list[ModelRole] = list(dict.fromkeys(comparison.role for comparison in comparisons))
    return listing([f"{_range([c.noise for c in comparisons if c.role == role])} beside the {role}" for role in roles])


def _range(noises: Sequence[float]) -> str:
    least, most = points(min(noises)), points(max(noises))
    return f"±{most}" if least == most else f"±{least.split()[0]} to ±{most}"


def _choice(front: Frontier | None) -> Iterator[str]:
    if front is not None and front.smallest is not None:
        yield (
            "Which size is the cheapest near enough was read off the test rows: of many sizes near the limit, the one that "
            "was lucky on these rows is found. Before relying on it, measure it on rows of your own."
        )


def _attempts(jobs: Sequence[ReportJob]) -> Iterator[str]:
    again = [job for job in jobs if job.attempts > 1]
    if len(again) > MANY_JOBS:
        most = max(job.attempts for job in again)
        yield f"{count(len(again), 'job')} took several attempts, up to {most}; times are those of the last."
        return
    for job in again:
        yield (
            f"The {job_name(job)} took {job.attempts} attempts; times by phase are those of the last, "
            "and its 'claimed' holds all before it."
        )


def _waits(jobs: Sequence[ReportJob]) -> Iterator[str]:
    waited = [job for job in jobs if job.teacher_wait_s >= 1]
    if len(waited) > MANY_JOBS:
        longest = max(job.teacher_wait_s for job in waited)
        yield f"{count(len(waited), 'job')} stood still, up to {seconds(longest)} each, waiting for teachers."
        return
    for job in waited:
        yield f"The {job_name(job)} stood still for {seconds(job.teacher_wait_s)}, waiting for teachers."


def _latency(models: Sequence[ReportModel]) -> Iterator[str]:
    sizes = [model.size for model in models if model.size is not None]
    if sizes:
        places = listing(sorted({_place(size) for size in sizes}))
        yield f"Latencies are medians on {places}; other jobs may have run on the same machine meanwhile."


def _place(size: Size) -> str:
    return f"{size.latency_device} with {count(size.latency_threads, 'thread')}"
