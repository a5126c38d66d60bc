"""Prints how our losses compare with published implementations, as Markdown: ``python -m tests.golden.table``."""

import torch

from tests.golden.figures import Figure, all_figures

HEADER = """\
| loss | settings | seed | source | ours, float64 | ours, float32 | reference, float32 | relative, float64 | relative, float32 |
|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Print the table, and below it the largest differences."""
    torch.set_num_threads(1)
    figures = sorted(all_figures(), key=lambda figure: figure.loss)
    print(HEADER)
    for figure in figures:
        print(row(figure))
    double, single = (max(difference(figure, dtype) for figure in figures) for dtype in (torch.float64, torch.float32))
    print(f"\n{len(figures)} figures. Largest relative difference: float64 {double:.1e}, float32 {single:.1e}.")


def row(figure: Figure) -> str:
    """A line of the table."""
    settings = ", ".join(f"{name} {value:g}" for name, value in figure.settings.items()) or "-"
    double, single = figure.ours(torch.float64), figure.ours(torch.float32)
    differences = f"{difference(figure, torch.float64):.1e} | {difference(figure, torch.float32):.1e}"
    return (
        f"| {figure.loss} | {settings} | {figure.seed} | {figure.source} | {double:.9g} | {single:.9g} "
        f"| {figure.value:.9g} | {differences} |"
    )


def difference(figure: Figure, dtype: torch.dtype) -> float:
    """Between our value and the figure, relative to the figure."""
    return abs(figure.ours(dtype) - figure.value) / abs(figure.value)


if __name__ == "__main__":
    main()
