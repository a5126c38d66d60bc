"""The plot of accuracy against size, every model marked and named."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from distill.contracts.report import Report, ReportModel
from services.reports.canvas import GREY, STYLES, new_figure
from services.reports.words import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_size(report: Report) -> "Figure | None":
    """Test accuracy against parameters, on a log axis; every model is marked and named."""
    marks = [_Mark.of(model) for model in report.models if model.quality and model.size]
    if not marks:
        return None
    figure, axes = new_figure("Accuracy against size", x="parameters", y="test accuracy, %")
    axes.set_xscale("log")
    axes.margins(x=0.25, y=0.18)
    for mark in marks:
        colour, marker = STYLES[mark.role]
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
        who = model.name if model.role == "member" else f"{model.role} {label(model.point, model.generation)}".rstrip()
        name = f"{who}, {accuracy:.1f} %"
        return cls(role=model.role, name=name, parameters=model.size.parameters, accuracy=accuracy)


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
        text = axes.annotate(
            mark.name,
            place,
            xytext=(side, 0),
            textcoords="offset points",
            ha=alignment,
            va="center",
            fontsize=8,
            color=GREY,
        )
        raised = _raise_above(text, taken)
        taken.append(text.get_window_extent())
        if raised:
            line = {"arrowstyle": "-", "color": "#bbbbbb", "linewidth": 0.6, "shrinkB": 4}
            axes.annotate("", place, xytext=(side, raised), textcoords="offset points", arrowprops=line)


def _raise_above(text: Any, taken: Sequence[Any]) -> int:
    """Move ``text`` up until it covers nothing; how far, in typographic points."""
    raised = 0
    while any(text.get_window_extent().overlaps(other) for other in taken):
        raised += 2
        text.set_position((text.get_position()[0], raised))
    return raised
