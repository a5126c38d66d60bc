"""Two ways to show what is followed: bars that move on a terminal, and lines that don't in a log."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from distill.contracts import records
from distill.contracts.events import Event, ProgressEvent, Snapshot
from distill.contracts.records import JobState, Reason
from services.cli.screen import console, duration
from services.cli.story import catch_up, tell

EVERY_S = 5.0
"""Seconds between two lines of progress of one job, where there are no bars."""
FEW = 8
"""More jobs than these are counted, and only those that run are shown."""


ROOM_ABOVE = 8
"""Lines of the screen that many bars leave to the events above them."""


class Tally:
    """How many of the followed jobs are in which state."""

    def __init__(self, states: Mapping[str, JobState] | None = None) -> None:
        """``states`` of the jobs that are known when it begins."""
        self._states = dict(states or {})

    @property
    def is_many(self) -> bool:
        """Too many to be shown one by one."""
        return len(self._states) > FEW

    @property
    def num_jobs(self) -> int:
        """All of them."""
        return len(self._states)

    @property
    def num_ended(self) -> int:
        """Those in a final state."""
        return sum(state.is_final for state in self._states.values())

    def runs(self, job: str) -> bool:
        """Whether an attempt may be alive."""
        return job in self._states and self._states[job].has_attempt

    def note(self, event: Event) -> bool:
        """Count the event's job in its new state; returns whether it has just ended."""
        if event.job is None or event.state is None:
            return False
        had_ended = event.job in self._states and self._states[event.job].is_final
        self._states[event.job] = event.state
        return event.state.is_final and not had_ended

    def take(self, snapshot: Snapshot) -> None:
        """Count the snapshot's jobs in the states that they have in it."""
        self._states |= {job.id: job.state for job in snapshot.jobs.values()}

    def __str__(self) -> str:
        counts = Counter(self._states.values())
        return ", ".join(f"{counts[state]} {state.value.lower()}" for state in JobState if counts[state])


class Lines:
    """Plain text, for logs and pipes."""

    def __init__(
        self, names: Mapping[str, str], tally: Tally | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._names = names
        self._tally = tally or Tally()
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
        """A line, if it says something; of many jobs, the count too when one has ended."""
        has_ended = self._tally.note(event)
        line = tell(event, who=_who(event, self._names), of_many=self._tally.is_many)
        if line:
            self._console.print(line, markup=False)
        if has_ended and self._tally.is_many:
            self._console.print(f"         {self._tally.num_jobs} jobs: {self._tally}", markup=False)

    def snapshot(self, snapshot: Snapshot) -> None:
        """That some of the story is missing, and where each job stands; of many jobs, the count."""
        self._tally.take(snapshot)
        for line in catch_up(snapshot, self._names, of_many=self._tally.is_many):
            self._console.print(line, markup=False)
        if self._tally.is_many:
            self._console.print(f"         {self._tally.num_jobs} jobs: {self._tally}", markup=False)

    def progress(self, event: ProgressEvent) -> None:
        """A line, unless one came shortly before."""
        at = self._clock()
        if at - self._shown_at.get(event.job, float("-inf")) < EVERY_S:
            return
        self._shown_at[event.job] = at
        self._console.print(f"         {_who(event, self._names)}: {_in_words(event.progress)}", markup=False)


class Bars:
    """A bar for each job at the foot of the screen; events pass above.

    Of many jobs one bar counts those that have ended, and below it are those that run, as far as the screen goes.
    """

    def __init__(self, names: Mapping[str, str], tally: Tally | None = None) -> None:
        self._names = names
        self._tally = tally or Tally()
        self._bars = Progress(
            TextColumn("{task.fields[who]}", style="bold"),
            BarColumn(bar_width=24),
            _Steps(),
            _Figures(),
            TextColumn("{task.fields[doing]}", style="dim"),
            console=console(),
        )
        self._all = self._bars.add_task("", total=None, who="all", doing="", figures=None, visible=False)
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
        self._tally.note(event)
        line = tell(event, who=_who(event, self._names), of_many=self._tally.is_many)
        if line:
            self._bars.console.print(line, markup=False)
        if event.job is None or event.state is None:
            return
        self._stands(event.job, _who(event, self._names), event.state, event.reason)
        self._arrange()

    def snapshot(self, snapshot: Snapshot) -> None:
        """A line that some of the story is missing; every job's bar as the job stands."""
        self._tally.take(snapshot)
        for line in catch_up(snapshot, self._names, of_many=True):
            self._bars.console.print(line, markup=False)
        for key, job in snapshot.jobs.items():
            self._stands(job.id, self._names.get(job.id) or key, job.state, job.reason)
        self._arrange()

    def progress(self, event: ProgressEvent) -> None:
        """Move the bar."""
        now = event.progress
        task = self._task(event.job, _who(event, self._names))
        self._bars.update(task, completed=now.step, total=now.num_steps or None, figures=now, doing=now.phase)

    def _stands(self, job: str, who: str, state: JobState, reason: Reason | None) -> None:
        task = self._task(job, who)
        self._bars.update(task, doing=f"{state.value.lower()}: {reason.text}" if reason else state.value.lower())
        if state.is_final:
            self._bars.update(task, figures=None)

    def _arrange(self) -> None:
        """Of many jobs, show the count and those that run; of few, all."""
        if not self._tally.is_many:
            return
        ended, num_jobs = self._tally.num_ended, self._tally.num_jobs
        self._bars.update(self._all, completed=ended, total=num_jobs, doing=str(self._tally), visible=True)
        running = [job for job in self._tasks if self._tally.runs(job)]
        shown = set(running[: max(1, self._bars.console.height - ROOM_ABOVE)])
        for job, task in self._tasks.items():
            self._bars.update(task, visible=job in shown)

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
    steps = [f"step {now.step:,} of {now.num_steps:,}"] if now.num_steps else []
    return ", ".join([now.phase, *steps, f"epoch {now.epoch} of {now.num_epochs}", *_parts(now)])


def _figures(now: records.Progress) -> str:
    return ", ".join(_parts(now))


def _parts(now: records.Progress) -> list[str]:
    shown = []
    if now.rows_per_s is not None:
        shown.append(f"{now.rows_per_s:,.0f} rows/s")
    if now.loss is not None:
        shown.append(f"loss {now.loss:.4f}")
    if now.eta_s is not None:
        shown.append(f"{duration(now.eta_s)} left")
    return shown
