"""Live figures of an attempt."""

from typing import Any

import pytest

from distill.contracts.job import TrainingSpec
from distill.contracts.records import Progress
from student_worker import reporting
from student_worker.reporting import SETTLED_S, Reporter


class Shown:
    """A journal that keeps what was shown."""

    def __init__(self) -> None:
        self.figures: list[Progress] = []

    def progress(self, figures: Progress) -> None:
        self.figures.append(figures)


def test_the_end_is_foretold_once_the_rate_has_been_watched_for_a_while(monkeypatch: pytest.MonkeyPatch):
    now_s, shown = 0.0, Shown()
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now_s)
    journal: Any = shown
    reporter = Reporter(journal, attempt=1, training=TrainingSpec(batch_size=10), num_steps=100)
    for second in range(int(SETTLED_S) + 2):
        now_s = float(second)
        reporter.stands_at(step=second + 1, epoch=0)
        reporter.figures(0.5)
    first, *_, last = shown.figures
    assert first.eta_s is None
    assert [one.eta_s is None for one in shown.figures] == [True] * int(SETTLED_S) + [False] * 2
    assert (last.rows_per_s, last.eta_s) == (10.0, 100 - last.step)
