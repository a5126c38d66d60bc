"""Whose rows are computed next: a queue for each team, fair by weight, and how device batches are made of their rows.

Pure: it knows no clock, thread or device. A replica runs it, and so does the simulator of the benchmarks.

Start-time fair queueing (Goyal, Vin, Cheng, 1997, doi:10.1109/90.649569), in slices of rows: each team has a tag, which
rises by work / weight with what it is given, and the least tag goes first. Virtual time is the least tag of those who
wait. A team that comes back starts there, wherever it was left: absence saves nothing up.

Work is rows times members: a row that one of three members answers costs a third.
"""

import math
from bisect import insort
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Request = TypeVar("Request", bound=Hashable)

SLICE_ROWS = 16
"""At least so many rows of a team go together: a device batch is shared to within these."""


class FairQueue(Generic[Request]):
    """Requests of several teams that wait for one device; a request is whatever can be hashed."""

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self.weights: Mapping[str, float] = weights or {}
        """Of teams; 1 for others. May be set at any time, and counts from then on."""
        self._virtual = 0.0
        self._number = 0
        self._teams: dict[str, _Team[Request]] = {}
        self._places: dict[Request, tuple[_Team[Request], _Waiting[Request]]] = {}

    def __len__(self) -> int:
        return len(self._places)

    @property
    def rows(self) -> int:
        """Rows that wait, of all requests."""
        return sum(team.rows.total() for team in self._teams.values())

    @property
    def work(self) -> int:
        """Rows times members that wait, of all requests."""
        return sum(waiting.rows_left * waiting.members for _, waiting in self._places.values())

    @property
    def ready_rows(self) -> int:
        """Of these, rows that could be computed together with the one that is next."""
        backlogged = self._backlogged()
        if not backlogged:
            return 0
        shape = _first(backlogged).next.shape
        return sum(team.rows[shape] for team in backlogged)

    def push(self, team: str, request: Request, *, rows: int, shape: Hashable, job: str = "", members: int = 1) -> None:
        """Let a request wait.

        Args:
            team: who pays for it.
            request: not one that waits already.
            rows: how many, at least 1.
            shape: equal for requests whose rows can be computed together.
            job: whose it is within the team; jobs of a team come in turn, a job's own requests as they came.
            members: how many answer each row.
        """
        owner = self._teams.get(team) or self._new_team(team)
        if not owner.lines:
            owner.tag = max(owner.tag, self._virtual)
        self._number += 1
        place = owner.place(job, rows * members)
        waiting = _Waiting(place, self._number, request, rows, shape, job, members)
        owner.add(waiting)
        self._places[request] = owner, waiting

    def next_batch(self, max_rows: int) -> list[tuple[Request, int, int]]:
        """Take the rows of the next device batch: at most ``max_rows``, all of one shape.

        Returns:
            (request, start, stop) of each that is part of it, in the order in which they came up; empty if nobody waits.
            A request's slices leave in order, and it has left once its last row has.
        """
        backlogged = self._backlogged()
        if not backlogged:
            return []
        shape = _first(backlogged).next.shape
        fitting = [team for team in backlogged if shape in team.lines]
        least_other = min((team.tag for team in backlogged if shape not in team.lines), default=math.inf)
        bounds: dict[Request, tuple[int, int]] = {}
        room = max_rows
        while room and fitting:
            team = _first(fitting)
            self._virtual = max(self._virtual, min(team.tag, least_other))
            request, start, stop = self._take(team, fitting, team.lines[shape][0], room)
            bounds[request] = bounds.get(request, (start, stop))[0], stop
            room -= stop - start
            if shape not in team.lines:
                fitting.remove(team)
        return [(request, start, stop) for request, (start, stop) in bounds.items()]

    def remove(self, request: Request) -> bool:
        """Forget what is left of a request; False if it doesn't wait (any more)."""
        if request not in self._places:
            return False
        team, waiting = self._places.pop(request)
        team.remove(waiting)
        return True

    def _take(
        self, team: "_Team[Request]", fitting: "list[_Team[Request]]", waiting: "_Waiting[Request]", room: int
    ) -> tuple[Request, int, int]:
        """Up to where the next team's turn would come, or a slice beyond."""
        weight = self.weights.get(team.name, 1.0)
        next_tag = min((other.tag for other in fitting if other is not team), default=math.inf)
        rows = int(min(room, waiting.rows_left, max(SLICE_ROWS, (next_tag - team.tag) * weight / waiting.members)))
        team.take(waiting, rows)
        team.tag += rows * waiting.members / weight
        if not waiting.rows_left:
            self.remove(waiting.request)
        return waiting.request, waiting.start - rows, waiting.start

    def _backlogged(self) -> "list[_Team[Request]]":
        return [team for team in self._teams.values() if team.lines]

    def _new_team(self, name: str) -> "_Team[Request]":
        # those whose tag no longer matters are as if they had never come
        self._teams = {other: team for other, team in self._teams.items() if team.lines or team.tag > self._virtual}
        self._teams[name] = _Team(name, self._virtual)
        return self._teams[name]


MAX_ON_DEVICE = 2
"""One that computes, and one that follows it without a gap; what waits in the queue can still be shared fairly."""


def goes_now(ready_rows: int, *, on_device: int, is_due: bool) -> bool:
    """Whether the next device batch is made now, or collects more rows first.

    An idle device takes whatever there is: nobody waits for company. A busy one gets its next batch when the one before
    is about to end, since until then it couldn't begin anyway: so batches are full, and whoever was just answered is
    back in time for the next turn.

    Args:
        ready_rows: `FairQueue.ready_rows`.
        on_device: batches launched and not yet fetched.
        is_due: whether the last one launched is about to end, as far as is known.
    """
    if not ready_rows or on_device >= MAX_ON_DEVICE:
        return False
    return not on_device or is_due


@dataclass(order=True)
class _Waiting(Generic[Request]):
    place: float
    """Virtual time within the team."""
    number: int
    request: Request = field(compare=False)
    rows: int = field(compare=False)
    shape: Hashable = field(compare=False)
    job: str = field(compare=False)
    members: int = field(compare=False)
    start: int = field(default=0, compare=False)
    """The first row that hasn't left."""

    @property
    def rows_left(self) -> int:
        return self.rows - self.start


class _Team(Generic[Request]):
    """A team's requests by shape, each line in the order in which they are to be served."""

    def __init__(self, name: str, tag: float) -> None:
        self.name = name
        self.tag = tag
        self.lines: dict[Hashable, list[_Waiting[Request]]] = {}
        self.rows: Counter[Hashable] = Counter()
        """Rows that wait in each line."""
        self._virtual = 0.0
        self._jobs: dict[str, float] = {}

    @property
    def next(self) -> _Waiting[Request]:
        return min(line[0] for line in self.lines.values())

    def place(self, job: str, work: float) -> float:
        """Where a request comes in: after the job's own ones, and as if its jobs were teams of equal weight."""
        if job not in self._jobs:  # a good moment to forget those that are as if they had never come
            self._jobs = {other: end for other, end in self._jobs.items() if end > self._virtual}
        start = max(self._virtual, self._jobs.get(job, 0.0))
        self._jobs[job] = start + work
        return start

    def add(self, waiting: _Waiting[Request]) -> None:
        insort(self.lines.setdefault(waiting.shape, []), waiting)
        self.rows[waiting.shape] += waiting.rows

    def take(self, waiting: _Waiting[Request], rows: int) -> None:
        # the time of who is next, not of who is served: rows that only fill a batch up are ahead of theirs
        self._virtual = max(self._virtual, self.next.place)
        waiting.start += rows
        self.rows[waiting.shape] -= rows

    def remove(self, waiting: _Waiting[Request]) -> None:
        line = self.lines[waiting.shape]
        line.remove(waiting)
        self.rows[waiting.shape] -= waiting.rows_left
        if not line:
            del self.lines[waiting.shape], self.rows[waiting.shape]
        if waiting.job in self._jobs:  # what is never computed is not held against the job
            self._jobs[waiting.job] -= waiting.rows_left * waiting.members


def _first(teams: "Iterable[_Team[Request]]") -> "_Team[Request]":
    return min(teams, key=lambda team: team.tag)
