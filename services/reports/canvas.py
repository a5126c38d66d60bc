"""What every plot shares: an empty figure, and a style for each role. Matplotlib is imported only when one is drawn."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people tell apart; markers differ too
STYLES = {
    "student": ("#0072B2", "o"),
    "baseline": ("#D55E00", "s"),
    "ensemble": ("#009E73", "D"),
    "member": ("#56B4E9", "^"),
}
GREY = "#555555"


def new_figure(title: str, *, x: str, y: str) -> "tuple[Figure, Axes]":
    """Empty, titled, with a light grid."""
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
