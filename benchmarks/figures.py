"""A figure, what it should be, and whether it is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from benchmarks.intervals import Interval

Verdict = Literal["met", "open", "missed", "-"]
"""Met: the median is on the right side. Open: it is not, but some of the interval is. Missed: nothing of it is."""


@dataclass(frozen=True)
class Goal:
    """Bounds of a figure; None: there is none on that side."""

    at_least: float | None = None
    at_most: float | None = None

    def verdict(self, found: Interval) -> Verdict:
        """A goal is missed only if the whole interval is on the wrong side."""
        if self.at_least is None and self.at_most is None:
            return "-"
        if self._holds(found.median, found.median):
            return "met"
        return "open" if self._holds(found.high, found.low) else "missed"

    def _holds(self, highest: float, lowest: float) -> bool:
        is_enough = self.at_least is None or highest >= self.at_least
        return is_enough and (self.at_most is None or lowest <= self.at_most)

    def __str__(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:g} to {self.at_most:g}"
        if self.at_least is not None:
            return f">= {self.at_least:.4g}"
        return "" if self.at_most is None else f"<= {self.at_most:.4g}"


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    key: str
    found: Interval
    goal: Goal = Goal()
    unit: str = "ratio"
    details: Mapping[str, Any] = field(default_factory=dict)
    """Thread counts, durations, measured costs: what one must know to believe it."""

    @property
    def verdict(self) -> Verdict:
        """Whether the goal is met."""
        return self.goal.verdict(self.found)

    def to_json(self, command: str) -> dict[str, Any]:
        """As it stands in ``latest.json``."""
        return {
            **asdict(self.found),
            "goal": str(self.goal),
            "verdict": self.verdict,
            "unit": self.unit,
            "command": command,
            "details": dict(self.details),
        }


def table(figures: list[Figure]) -> str:
    """The figures in Markdown."""
    lines = ["| key | value | 95 % interval | goal | verdict |", "|---|---|---|---|---|"]
    lines += [_line(figure) for figure in figures]
    return "\n".join(lines)


def _line(figure: Figure) -> str:
    found, unit = figure.found, "" if figure.unit == "ratio" else f" {figure.unit}"
    interval = "counted" if found.low == found.high else f"{found.low:.4g} to {found.high:.4g}"
    return f"| {figure.key} | {found.median:.4g}{unit} | {interval} | {figure.goal} | {figure.verdict} |"
