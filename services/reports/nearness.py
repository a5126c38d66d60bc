"""Whether a student became like its teachers, or like the same network without them."""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean

from distill.contracts.measures import Predictions
from distill.contracts.report import Nearness, ReportModel
from services.reports.compare import noise_of_difference, noise_of_mean
from services.reports.runs import Run
from services.reports.words import percent


def nearness(
    pairs: Sequence[tuple[Run, Run]],
    ensemble_classes: Sequence[int],
    *,
    student: ReportModel,
    baseline: ReportModel,
    ensemble: ReportModel,
) -> Nearness | None:
    """Set the student's answers beside the ensemble's and the baseline's, on the test rows.

    Args:
        pairs: student and baseline of each seed that both have.
        ensemble_classes: the class that the ensemble names for each test row.
        student: its line in the table of models; so ``baseline`` and ``ensemble``.

    Returns:
        None where answers or accuracies are missing.
    """
    named = [(s.predictions, b.predictions) for s, b in pairs if s.predictions and b.predictions]
    votes = [_votes(mine, theirs, ensemble_classes) for mine, theirs in named if _same_rows(mine, theirs)]
    if not votes or not (student.quality and baseline.quality and ensemble.quality):
        return None
    to_ensemble = fmean(fmean(with_ensemble) for with_ensemble, _ in votes)
    to_baseline = fmean(fmean(with_baseline) for _, with_baseline in votes)
    found = Nearness(
        point=student.point,
        generation=student.generation,
        to_ensemble=to_ensemble,
        to_baseline=to_baseline,
        noise=_noise(votes),
        nearer="neither",
        position=_position(student, baseline, ensemble),
        sentence="",
    )
    if abs(to_ensemble - to_baseline) > found.noise:
        found = found.model_copy(update={"nearer": "ensemble" if to_ensemble > to_baseline else "baseline"})
    return found.model_copy(update={"sentence": _sentence(found, student, baseline, ensemble)})


def noise_of_rows(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Two standard errors of the difference of two shares of the same n rows, from what differs row by row.

    Where b rows are in the first share alone and c in the second alone: 2 sqrt(b + c - (b - c)^2 / n) / n, as in
    McNemar's test.
    """
    num_rows = len(first)
    only_first = sum(one and not other for one, other in zip(first, second, strict=True))
    only_second = sum(other and not one for one, other in zip(first, second, strict=True))
    return 2 * sqrt(only_first + only_second - (only_first - only_second) ** 2 / num_rows) / num_rows


_Votes = tuple[list[bool], list[bool]]
"""For each test row: whether the student names the ensemble's class, and whether the baseline's."""


def _votes(student: Predictions, baseline: Predictions, ensemble_classes: Sequence[int]) -> _Votes:
    with_ensemble = [mine == theirs for mine, theirs in zip(student.student, ensemble_classes, strict=True)]
    with_baseline = [mine == theirs for mine, theirs in zip(student.student, baseline.student, strict=True)]
    return with_ensemble, with_baseline


def _same_rows(student: Predictions, baseline: Predictions) -> bool:
    return bool(student.truth) and student.truth == baseline.truth


def _noise(votes: Sequence[_Votes]) -> float:
    if len(votes) == 1:
        return noise_of_rows(*votes[0])
    return noise_of_mean([fmean(with_ensemble) - fmean(with_baseline) for with_ensemble, with_baseline in votes])


def _position(student: ReportModel, baseline: ReportModel, ensemble: ReportModel) -> float | None:
    """(student - baseline) / (ensemble - baseline), in accuracy; None where the ensemble's lead is noise, or none."""
    assert student.quality and baseline.quality and ensemble.quality, "only measured models are placed"  # noqa: S101, PT018
    lead = ensemble.quality.accuracy - baseline.quality.accuracy
    if lead <= noise_of_difference(ensemble.quality, baseline.quality):
        return None
    return (student.quality.accuracy - baseline.quality.accuracy) / lead


def _sentence(found: Nearness, student: ReportModel, baseline: ReportModel, ensemble: ReportModel) -> str:
    agrees = (
        f"The student names the ensemble's class on {percent(found.to_ensemble)} of the test rows, "
        f"its baseline's on {percent(found.to_baseline)}"
    )
    nearer = {
        "ensemble": "it is nearer to its teachers",
        "baseline": "it is nearer to the network that was never taught",
        "neither": "it is as near to the one as to the other, within the noise",
    }[found.nearer]
    return f"{agrees}: {nearer}; {_place(found.position, student, baseline, ensemble)}."


def _place(position: float | None, student: ReportModel, baseline: ReportModel, ensemble: ReportModel) -> str:
    mine, below, above = (percent(m.quality.accuracy) if m.quality else "" for m in (student, baseline, ensemble))
    if position is None:
        return f"the ensemble's {above} is no more than the baseline's {below} but for noise, so there is no way between them"
    if position < 0:
        return f"its accuracy, {mine}, lies below the baseline's {below}, away from the ensemble's {above}"
    if position > 1:
        return f"its accuracy, {mine}, lies beyond the ensemble's {above}, away from the baseline's {below}"
    return f"its accuracy has come {percent(position)} of the way from the baseline's {below} to the ensemble's {above}"
