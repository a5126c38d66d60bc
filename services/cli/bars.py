"""Two ways to show what is followed: bars that move on a terminal, and lines that don't in a log."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from distill.contracts import records
from distill.contracts.events import Event, ProgressEvent
from services.cli.screen import console, duration
from services.cli.story import tell

EVERY_S = 5.0
"""Seconds between two lines of progress of one job, where there are no bars."""


class Lines:
    """Plain text, for logs and pipes."""

    def __init__(self, names: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self._names = names
        self._console = console()
        self._clock = clock
        self._shown_at: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to put away."""

    def event(self, event: Event) -> None:
        """A line, if it says something."""
        line = tell(event, who=_who(event, self._names))
        if line:
            self._console.print(line, markup=False)

    def progress(self, event: ProgressEvent) -> None:
        """A line, unless one came shortly before."""
        at = self._clock()
        if at - self._shown_at.get(event.job, float("-inf")) < EVERY_S:
            return
        self._shown_at[event.job] = at
        self._console.print(f"         {_who(event, self._names)}: {_in_words(event.progress)}", markup=False)


class Bars:
    """A bar for each job at the foot of the screen; events pass above."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._bars = Progress(
            TextColumn("{task.fields[who]}", style="bold"),
            BarColumn(bar_width=24),
            _Steps(),
            _Figures(),
            TextColumn("{task.fields[doing]}", style="dim"),
            console=console(),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def event(self, event: Event) -> None:
        """A line above the bars; the reason beside its job's bar."""
        line = tell(event, who=_who(event, self._names))
        if line:
            self._bars.console.print(line, markup=False)
        if event.job is None or event.state is None:
            return
        task = self._task(event.job, _who(event, self._names))
        doing = f"{event.state.value.lower()}: {event.reason.text}" if event.reason else event.state.value.lower()
        self._bars.update(task, doing=doing)
        if event.state.is_final:
            self._bars.update(task, figures=None)

    def progress(self, event: ProgressEvent) -> None:
        """Move the bar."""
        now = event.progress
        task = self._task(event.job, _who(event, self._names))
        self._bars.update(task, completed=now.step, total=now.num_steps or None, figures=now, doing=now.phase)

    def _task(self, job: str, who: str) -> TaskID:
        if job not in self._tasks:
            self._tasks[job] = self._bars.add_task("", total=None, who=who, doing="queued", figures=None)
        return self._tasks[job]


class _Steps(ProgressColumn):
    """How far."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:,.0f}/{task.total:,.0f}" if task.total else "")


class _Figures(ProgressColumn):
    """How fast, how well, and how long still."""

    def render(self, task: Task) -> Text:
        now: records.Progress | None = task.fields["figures"]
        return Text(_figures(now) if now else "")


def _who(event: Event | ProgressEvent, names: Mapping[str, str]) -> str:
    return names.get(event.job or "") or event.role or "study"


def _in_words(now: records.Progress) -> str:
    return f"{now.phase}, step {now.step:,} of {now.num_steps:,}, epoch {now.epoch} of {now.num_epochs} {_figures(now)}".rstrip()


def _figures(now: records.Progress) -> str:
    shown = []
    if now.rows_per_s is not None:
        shown.append(f"{now.rows_per_s:,.0f} rows/s")
    if now.loss is not None:
        shown.append(f"loss {now.loss:.4f}")
    if now.eta_s is not None:
        shown.append(f"{duration(now.eta_s)} left")
    return ", ".join(shown)
