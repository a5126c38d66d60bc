"""The tables of studies: sizes, generations, and what the epochs were worth."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from distill.contracts.measures import CurvePoint, best_point
from distill.contracts.report import Comparison, Report, ReportJob, ReportModel
from services.reports.frontier import cost
from services.reports.lines import last_generations
from services.reports.model_tables import accuracy_words, signed_points
from services.reports.tables import NOTHING, table
from services.reports.words import count, label, listing, numbers, percent, quantity

_AXES = {"parameters": "parameters", "flops": "FLOPs", "latency": "ms"}


def frontier_words(report: Report) -> str:
    """The sentence, and a row for each size, the smallest first."""
    front = report.frontier
    if front is None:
        return ""
    students = last_generations([model for model in report.models if model.role == "student"])
    measured = sorted((m for m in students if m.size and m.quality), key=lambda model: cost(model, "parameters"))
    head = ["size", "", "parameters", "FLOPs", "ms, batch 1", "student", "baseline", "difference", "on the front of"]
    legend = "On the front: no other student is at least as good for at most the cost, and better in one of them."
    return "\n\n".join([front.sentence, table(head, (_size_row(model, report) for model in measured)), legend])


def generations_table(report: Report) -> str:
    """Accuracy by generation, the first one first; nothing where there is only one."""
    students = [model for model in report.models if model.role == "student" and model.generation is not None]
    if not students:
        return ""
    several = any(model.point for model in students)
    head = ["size", "generation", "taught by", "accuracy", "agrees with the first ensemble", "beside the one before"]
    rows = [_generation_row(model, students, report.jobs) for model in students]
    return table(head, rows) if several else table(head[1:], (row[1:] for row in rows))


def epochs_table(jobs: Sequence[ReportJob]) -> str:
    """The last epoch, and the one that validation rows alone choose; means over seeds."""
    kinds = list(dict.fromkeys((job.role, job.point, job.generation) for job in jobs))
    groups = [[job for job in jobs if (job.role, job.point, job.generation) == kind] for kind in kinds]
    rows = [row for group in groups for row in _epoch_row(group)]
    head = ["model", "last epoch", "validation", "test", "best epoch on validation rows", "validation", "test"]
    if not rows:
        return ""
    legend = (
        "The best epoch is the first of the highest validation accuracy; being chosen by it, that figure is flattered, and "
        "test rows had no say in it."
    )
    return "\n\n".join([table(head, rows), " ".join([legend, _handed_over(jobs), *_early_ends(groups)])])


def best_epoch(job: ReportJob) -> CurvePoint | None:
    """The epoch that was selected, or else the first with the highest validation accuracy; None if none was measured."""
    if job.selected is not None:
        return next((point for point in job.curve if point.epoch == job.selected.epoch), None)
    return best_point(job.curve)


def _handed_over(jobs: Sequence[ReportJob]) -> str:
    """Whose weights every other figure is of: jobs that were reused may have handed over other ones."""
    selected = [job.selected is not None for job in jobs if job.quality is not None]
    if all(selected):
        return "Its weights were handed over, and every other figure of this report is of them."
    if any(selected):
        return (
            "Where it has a test accuracy its weights were handed over; every other figure is of what was handed over."
        )
    return "Its weights were not kept, so it has no test accuracy; every other figure is of the last epoch."


def _early_ends(groups: Sequence[Sequence[ReportJob]]) -> Iterator[str]:
    """Which trainings validation rows ended early, and after which epochs."""
    for group in groups:
        early = [job for job in group if job.stopped_early]
        if early:
            first = early[0]
            which = label(first.point, first.generation)
            name = f"{first.role} ({which})" if which else first.role
            ends = numbers((job.curve[-1].epoch for job in early), "epoch")
            of = f", {count(len(early))} of {count(len(group))} seeds" if len(early) < len(group) else ""
            yield (
                f"The {name} stopped early after {ends} of {count(first.spec.training.epochs)}{of}: its patience of "
                f"{count(first.spec.evaluation.patience or 0, 'measurement')} without a higher validation accuracy was over."
            )


def _size_row(model: ReportModel, report: Report) -> list[str]:
    assert model.size is not None and report.frontier is not None, "only measured sizes have a row"  # noqa: S101, PT018
    against = _against_baseline(model, report.comparisons)
    baseline = next((m for m in report.models if m.role == "baseline" and m.point == model.point), None)
    fronts = [_AXES[axis] for axis, front in report.frontier.fronts.items() if model.point in front]
    return [
        model.point or "",
        model.architecture,
        quantity(model.size.parameters),
        quantity(model.size.flops),
        f"{model.size.latency_ms[1]:.2f}" if 1 in model.size.latency_ms else NOTHING,
        accuracy_words(model),
        accuracy_words(baseline) if baseline else NOTHING,
        signed_points(against.accuracy_gain) if against else NOTHING,
        ", ".join(fronts) or NOTHING,
    ]


def _against_baseline(model: ReportModel, comparisons: Sequence[Comparison]) -> Comparison | None:
    mine = [c for c in comparisons if (c.point, c.generation) == (model.point, model.generation)]
    return next((comparison for comparison in mine if comparison.role == "baseline"), None)


def _generation_row(model: ReportModel, students: Sequence[ReportModel], jobs: Sequence[ReportJob]) -> list[str]:
    generation = model.generation or 0
    before = next((m for m in students if m.point == model.point and m.generation == generation - 1), None)
    return [
        model.point or "",
        str(generation),
        _taught_by(model, before, jobs),
        accuracy_words(model),
        percent(model.agreement) if model.agreement is not None else NOTHING,
        signed_points(model.quality.accuracy - before.quality.accuracy)
        if model.quality and before and before.quality
        else NOTHING,
    ]


def _taught_by(model: ReportModel, before: ReportModel | None, jobs: Sequence[ReportJob]) -> str:
    if before is not None:
        return f"generation {before.generation}"
    mine = [j for j in jobs if (j.role, j.point, j.generation) == ("student", model.point, model.generation)]
    return listing([use.name for use in mine[0].spec.teachers]) if mine and mine[0].spec.teachers else "labels alone"


def _epoch_row(jobs: Sequence[ReportJob]) -> Iterator[list[str]]:
    trained = [job for job in jobs if job.curve]
    best = [point for job in trained if (point := best_epoch(job)) is not None]
    if not best:
        return
    first, last = jobs[0], [job.curve[-1] for job in trained]
    yield [
        f"{first.role} {label(first.point, first.generation)}".rstrip(),
        numbers(point.epoch for point in last),
        _mean(point.validation_accuracy for point in last),
        _mean(_of_last_epoch(job) for job in trained),
        numbers(point.epoch for point in best),
        _mean(point.validation_accuracy for point in best),
        _mean(job.selected.quality.accuracy if job.selected else None for job in trained),
    ]


def _of_last_epoch(job: ReportJob) -> float | None:
    quality = job.last or job.quality
    return quality.accuracy if quality else None


def _mean(shares: Iterator[float | None]) -> str:
    """Over all, or nothing where one of them is not known."""
    values = list(shares)
    known = [value for value in values if value is not None]
    return percent(fmean(known)) if known and len(known) == len(values) else NOTHING


def runs_table(jobs: Sequence[ReportJob]) -> str:
    """Every job of a study of many: how it went, what it reached, how long it took."""
    head = [
        "job",
        "",
        "size",
        "generation",
        "seed",
        "state",
        "accuracy",
        "agrees",
        "until the first step",
        "training",
        "in all",
    ]
    return table(head, (_run_row(job) for job in jobs))


def _run_row(job: ReportJob) -> list[str]:
    at = {station.name: station.at_s for station in job.stations}
    first, trained = at.get("first step"), at.get("trained")
    return [
        f"`{job.id}`",
        job.role,
        job.point or NOTHING,
        str(job.generation) if job.generation is not None else NOTHING,
        str(job.spec.training.seed),
        job.state.lower(),
        percent(job.quality.accuracy) if job.quality else NOTHING,
        percent(job.agreement) if job.agreement is not None else NOTHING,
        f"{count(round(first))} s" if first is not None else NOTHING,
        f"{count(round(trained - first))} s" if first is not None and trained is not None else NOTHING,
        f"{count(round(job.stations[-1].at_s))} s",
    ]
