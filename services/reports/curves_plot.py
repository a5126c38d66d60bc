"""The plot of learning curves."""

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from distill.contracts.report import Report, ReportJob
from services.reports.canvas import STYLES, new_figure
from services.reports.words import label

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MOST_LINES = 16
"""Of more, only the students' are drawn."""


def draw_curves(report: Report) -> "Figure | None":
    """Validation accuracy by step, a line for each size, generation and role, the mean of its seeds.

    The ensemble's test accuracy is a level. Of many lines the colours say the size or generation; baselines are dashed.
    """
    curves = {name: curve for name, jobs in _alike(report.jobs).items() if (curve := _mean_curve(jobs))}
    if not curves:
        return None
    if len(curves) > MOST_LINES:
        curves = {(role, which): curve for (role, which), curve in curves.items() if role == "student"}
    figure, axes = new_figure("Learning curves", x="step", y="validation accuracy, %")
    for (role, which), curve in curves.items():
        axes.plot(
            [step for step, _ in curve], [share for _, share in curve], markersize=4, **_line(role, which, list(curves))
        )
    ensemble = next((m.quality for m in report.models if m.role == "ensemble" and m.quality), None)
    if ensemble is not None:
        colour, _ = STYLES["ensemble"]
        axes.axhline(100 * ensemble.accuracy, color=colour, linestyle=":", label="ensemble, on test rows")
    axes.set_xlim(left=0)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8 if len(curves) > 2 else None)
    return figure


_Kind = tuple[str, str]
"""Role, and size and generation in words."""


def _alike(jobs: Sequence[ReportJob]) -> dict[_Kind, list[ReportJob]]:
    alike: dict[_Kind, list[ReportJob]] = {}
    for job in jobs:
        alike.setdefault((job.role, label(job.point, job.generation)), []).append(job)
    return alike


def _mean_curve(jobs: Sequence[ReportJob]) -> list[tuple[int, float]]:
    """(step, mean accuracy in percent) at the steps that all seeds with a curve have measured."""
    measured = [
        {point.step: 100 * point.validation_accuracy for point in job.curve if point.validation_accuracy is not None}
        for job in jobs
        if job.curve
    ]
    shared = [step for step in measured[0] if all(step in curve for curve in measured)] if measured else []
    return [(step, fmean(curve[step] for curve in measured)) for step in shared]


def _line(role: str, which: str, kinds: Sequence[_Kind]) -> dict[str, Any]:
    labels = list(dict.fromkeys(other for _, other in kinds if other))
    colour, marker = STYLES[role]
    style = {
        "color": _shade(labels.index(which), len(labels)) if which and len(labels) > 1 else colour,
        "marker": marker,
    }
    dashes = "--" if role == "baseline" and labels else "-"
    return style | {"linestyle": dashes, "label": f"{role} {which}".rstrip()}


def _shade(position: int, num_shades: int) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"](0.9 * position / (num_shades - 1))
