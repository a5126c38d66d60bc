"""A report's plots: learning curves, and accuracy against size. Matplotlib is imported only when one is drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from distill.contracts.report import Report, ReportModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people tell apart; markers differ too
_STYLES = {
    "student": ("#0072B2", "o"),
    "baseline": ("#D55E00", "s"),
    "ensemble": ("#009E73", "D"),
    "member": ("#56B4E9", "^"),
}
_OTHERS = (("#CC79A7", "v"), ("#E69F00", "P"), ("#000000", "X"))
_GREY = "#555555"


def draw_plots(report: Report, folder: Path) -> tuple[str, ...]:
    """Write each plot that the report has data for as SVG and PNG; returns the file names."""
    plots = {"curves": draw_curves(report), "size": draw_size(report)}
    names = []
    for name, figure in plots.items():
        if figure is None:
            continue
        for suffix in (".svg", ".png"):
            figure.savefig(folder / f"{name}{suffix}", metadata={"Date": None} if suffix == ".svg" else {})
            names.append(f"{name}{suffix}")
    return tuple(names)


def draw_curves(report: Report) -> "Figure | None":
    """Validation accuracy by step, a line per job; the ensemble's test accuracy as a level."""
    curves = {job.role: [p for p in job.curve if p.validation_accuracy is not None] for job in report.jobs}
    if not any(curves.values()):
        return None
    figure, axes = _figure("Learning curves", x="step", y="validation accuracy, %")
    for role, points in curves.items():
        colour, marker = _style(role, list(curves))
        accuracies = [100 * p.validation_accuracy for p in points if p.validation_accuracy is not None]
        axes.plot([p.step for p in points], accuracies, color=colour, marker=marker, markersize=4, label=role)
    ensemble = next((m.quality for m in report.models if m.role == "ensemble" and m.quality), None)
    if ensemble is not None:
        colour, _ = _STYLES["ensemble"]
        axes.axhline(100 * ensemble.accuracy, color=colour, linestyle="--", label="ensemble, on test rows")
    axes.set_xlim(left=0)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def draw_size(report: Report) -> "Figure | None":
    """Test accuracy against parameters, on a log axis; every model is marked and named."""
    marks = [_Mark.of(model) for model in report.models if model.quality and model.size]
    if not marks:
        return None
    figure, axes = _figure("Accuracy against size", x="parameters", y="test accuracy, %")
    axes.set_xscale("log")
    axes.margins(x=0.25, y=0.18)
    for mark in marks:
        colour, marker = _STYLES[mark.role]
        axes.plot(
            mark.parameters,
            mark.accuracy,
            color=colour,
            marker=marker,
            markersize=8,
            markeredgecolor="white",
            linestyle="none",
        )
    _widen(axes, marks)
    _count_in_thousands(axes)
    _name_each(figure, axes, marks)
    return figure


class _Mark(NamedTuple):
    role: str
    name: str
    parameters: int
    accuracy: float

    @classmethod
    def of(cls, model: ReportModel) -> "_Mark":
        assert model.size and model.quality, "only measured models are drawn"  # noqa: S101, PT018
        accuracy = 100 * model.quality.accuracy
        name = f"{model.name if model.role == 'member' else model.role}, {accuracy:.1f} %"
        return cls(role=model.role, name=name, parameters=model.size.parameters, accuracy=accuracy)


def _figure(title: str, *, x: str, y: str) -> "tuple[Figure, Axes]":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _style(role: str, roles: Sequence[str]) -> tuple[str, str]:
    others = [other for other in roles if other not in _STYLES]
    return _STYLES.get(role) or _OTHERS[others.index(role) % len(_OTHERS)]


def _widen(axes: "Axes", marks: Sequence[_Mark]) -> None:
    """At least a decade wide, or no tick has a label; at least two points high, or noise looks like a cliff."""
    sizes, accuracies = [mark.parameters for mark in marks], [mark.accuracy for mark in marks]
    if max(sizes) < 10 * min(sizes):
        axes.set_xlim(min(sizes) / 5, max(sizes) * 5)
    if max(accuracies) - min(accuracies) < 2:
        axes.set_ylim(min(accuracies) - 1, max(accuracies) + 1)


def _count_in_thousands(axes: "Axes") -> None:
    from matplotlib.ticker import EngFormatter, NullFormatter

    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _name_each(figure: "Figure", axes: "Axes", marks: Sequence[_Mark]) -> None:
    """Write each name on the roomier side of its mark, from the lowest up, each above what it would cover."""
    figure.draw_without_rendering()
    taken = [line.get_window_extent().padded(3) for line in axes.lines]
    for mark in sorted(marks, key=lambda mark: mark.accuracy):
        place = (mark.parameters, mark.accuracy)
        is_left = axes.transLimits.transform(axes.transScale.transform(place))[0] <= 0.5
        side, alignment = (12, "left") if is_left else (-12, "right")
        label = axes.annotate(
            mark.name,
            place,
            xytext=(side, 0),
            textcoords="offset points",
            ha=alignment,
            va="center",
            fontsize=8,
            color=_GREY,
        )
        raised = _raise_above(label, taken)
        taken.append(label.get_window_extent())
        if raised:
            line = {"arrowstyle": "-", "color": "#bbbbbb", "linewidth": 0.6, "shrinkB": 4}
            axes.annotate("", place, xytext=(side, raised), textcoords="offset points", arrowprops=line)


def _raise_above(label: Any, taken: Sequence[Any]) -> int:
    """Move ``label`` up until it covers nothing; how far, in typographic points."""
    raised = 0
    while any(label.get_window_extent().overlaps(other) for other in taken):
        raised += 2
        label.set_position((label.get_position()[0], raised))
    return raised
