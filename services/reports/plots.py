"""A report's plots, as files. Matplotlib is imported only when one is drawn."""

from pathlib import Path

from distill.contracts.report import Report
from services.reports.curves_plot import draw_curves
from services.reports.frontier_plots import draw_frontier
from services.reports.size_plot import draw_size


def draw_plots(report: Report, folder: Path) -> tuple[str, ...]:
    """Write each plot that the report has data for as SVG and PNG; returns the file names."""
    plots = {"curves": draw_curves(report)}
    if report.frontier is None:
        plots["size"] = draw_size(report)
    else:
        plots |= {f"frontier-{axis}": draw_frontier(report, axis) for axis in report.frontier.fronts}
    names = []
    for name, figure in plots.items():
        if figure is None:
            continue
        for suffix in (".svg", ".png"):
            figure.savefig(folder / f"{name}{suffix}", metadata={"Date": None} if suffix == ".svg" else {})
            names.append(f"{name}{suffix}")
    return tuple(names)
