"""The plots of a sweep: accuracy against what it costs, the Pareto front drawn through, each size with its baseline."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from distill.contracts.report import Axis, Frontier, Report, ReportModel
from services.reports.canvas import GREY, STYLES, new_figure
from services.reports.frontier import accuracy, cost
from services.reports.lines import last_generations

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COSTS: dict[Axis, str] = {
    "parameters": "parameters",
    "flops": "floating-point operations of a row",
    "latency": "milliseconds for a row alone",
}


def draw_frontier(report: Report, axis: Axis) -> "Figure | None":
    """Students and baselines with their spread over seeds; the ensemble is a level; None without a sweep.

    Students on the front are filled and joined; a student and the baseline of its size are tied by a thin line.
    """
    front = report.frontier
    if front is None:
        return None
    students = last_generations([model for model in report.models if model.role == "student"])
    measured = [model for model in students if model.quality and model.size]
    baselines = [m for m in report.models if m.role == "baseline" and m.quality and m.size and m.point]
    figure, axes = new_figure(f"Accuracy against {axis}", x=_COSTS[axis], y="test accuracy, %")
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.15)
    _tie(axes, measured, baselines, axis)
    _mark(axes, baselines, axis, name="baseline")
    on_front = [model for model in measured if model.point in front.fronts[axis]]
    _mark(axes, [model for model in measured if model not in on_front], axis, name="student, beaten", is_filled=False)
    _mark(
        axes, sorted(on_front, key=lambda model: cost(model, axis)), axis, name="student, on the front", is_joined=True
    )
    _level(axes, report, front)
    _name(axes, measured, axis)
    _count(axes, axis)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _mark(
    axes: "Axes",
    models: Sequence[ReportModel],
    axis: Axis,
    *,
    name: str,
    is_filled: bool = True,
    is_joined: bool = False,
) -> None:
    if not models:
        return
    colour, marker = STYLES[models[0].role]
    axes.errorbar(
        [cost(model, axis) for model in models],
        [100 * accuracy(model) for model in models],
        yerr=[100 * model.deviation.accuracy if model.deviation else 0.0 for model in models],
        color=colour,
        marker=marker,
        markersize=7,
        markerfacecolor=colour if is_filled else "white",
        capsize=2,
        elinewidth=1,
        linestyle="-" if is_joined else "none",
        linewidth=1.2,
        label=name,
    )


def _tie(axes: "Axes", students: Sequence[ReportModel], baselines: Sequence[ReportModel], axis: Axis) -> None:
    for student in students:
        for baseline in (model for model in baselines if model.point == student.point):
            both = (student, baseline)
            axes.plot(
                [cost(model, axis) for model in both],
                [100 * accuracy(model) for model in both],
                color="#bbbbbb",
                linewidth=0.8,
                zorder=0,
            )


def _level(axes: "Axes", report: Report, front: Frontier) -> None:
    ensemble = next((model for model in report.models if model.role == "ensemble" and model.quality), None)
    if ensemble is None:
        return
    colour, _ = STYLES["ensemble"]
    level = 100 * accuracy(ensemble)
    axes.axhline(level, color=colour, linestyle="--", label=f"ensemble, {level:.1f} %")
    if front.within:
        near = f"within {100 * front.within:g} % of it"
        axes.axhline((1 - front.within) * level, color=colour, linestyle=":", linewidth=1, label=near)


def _name(axes: "Axes", students: Sequence[ReportModel], axis: Axis) -> None:
    for student in students:
        place = (cost(student, axis), 100 * accuracy(student))
        axes.annotate(student.point or "", place, xytext=(7, -10), textcoords="offset points", fontsize=8, color=GREY)


def _count(axes: "Axes", axis: Axis) -> None:
    """Ticks at 1, 2 and 5 of each decade: a sweep seldom spans more than two."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}") if axis == "latency" else EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
