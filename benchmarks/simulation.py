"""Students and replicas in simulated time, around the real queue of a replica and the real choice between replicas.

What is simulated is only what they stand on: a device that takes a fixed time per row, the way there and back, students
that learn from a window for a fixed time and have two under way.
"""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass

from teacher_server.coming import Coming, Left
from teacher_server.queue import FairQueue, goes_now
from teacher_server.routing import Known, Question, choosing

IN_FLIGHT = 2


@dataclass(frozen=True)
class Case:
    """What is simulated. The unit of time is one device batch."""

    students: int
    replicas: int
    load: float = math.inf
    """Rows that all students together can take, over those that all replicas together can answer."""
    window_rows: int = 1024
    batch_rows: int = 1024
    hop: float = 0.02
    """A window's way from a student to a replica, or an answer's back."""
    question: float = 0.004
    """What a replica is asked, or says, when a window's way is chosen; 1 ms where a batch takes 0.25 s."""
    stale: float = 0.02
    """How long a caller believes what it heard of a replica; `routing.STALE_S` where a batch takes 0.25 s."""


def idle_share(case: Case, *, seed: int, duration: float = 150.0, warm: float = 10.0) -> float:
    """Replica time idle while more than one batch waits anywhere, as a share of all replica time.

    Args:
        case: what is simulated.
        seed: of the draws between replicas that are equally loaded, and of when students begin.
        duration: batches that one replica could compute meanwhile.
        warm: before that; doesn't count.
    """
    world = _World(case, random.Random(seed))  # noqa: S311 - no secret
    world.run(until=warm)
    world.idle = 0.0
    world.run(until=warm + duration)
    return world.idle / (duration * case.replicas)


class _World:
    def __init__(self, case: Case, draw: random.Random) -> None:
        self.case = case
        self.draw = draw
        self.now = 0.0
        self.idle = 0.0
        """Replica time so far."""
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self.replicas = [_Replica(self) for _ in range(case.replicas)]
        for number in range(case.students):
            self.later(draw.random(), _Student(self, f"job-{number}").ask)

    def later(self, delay: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._numbers), what))

    def run(self, *, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            at, _, what = heapq.heappop(self._events)
            self._pass(at)
            what()
        self._pass(until)

    def _pass(self, at: float) -> None:
        waiting = sum(replica.queue.rows for replica in self.replicas)
        if waiting > self.case.batch_rows:
            self.idle += (at - self.now) * sum(not replica.is_busy for replica in self.replicas)
        self.now = at


@dataclass(frozen=True)
class _Window:
    number: int
    student: "_Student"

    @property
    def request_id(self) -> str:
        return f"{self.student.job}-{self.number}"


class _Replica:
    """The real queue and what it tells callers, before a device that computes one batch at a time."""

    def __init__(self, world: _World) -> None:
        self._world = world
        self.queue: FairQueue[_Window] = FairQueue()
        self.is_busy = False
        self._busy_until = 0.0
        self._coming = Coming(clock=lambda: world.now)

    def expect(self, window: _Window, at_most: float | None) -> tuple[Left, bool]:
        """As `Answering.expect`."""
        is_promised = at_most is not None and self._left().is_at_most(at_most)
        if is_promised:
            self._coming.promise(window.request_id, self._world.case.window_rows)
        return self._left(), is_promised

    def take(self, window: _Window) -> None:
        rows = self._world.case.window_rows
        self.queue.push("default", window, rows=rows, shape="", job=window.student.job)
        self._coming.queued(window.request_id)
        self._feed()

    def _left(self) -> Left:
        busy = max(0.0, self._busy_until - self._world.now)
        return Left(busy, self.queue.work + self._coming.work, 1 / self._world.case.batch_rows)

    def _feed(self) -> None:
        if not goes_now(self.queue.ready_rows, on_device=int(self.is_busy), is_due=False):
            return
        self.is_busy = True
        parts = self.queue.next_batch(self._world.case.batch_rows)
        takes = sum(stop - start for _, start, stop in parts) / self._world.case.batch_rows
        done = [window for window, _, stop in parts if stop == self._world.case.window_rows]
        self._busy_until = self._world.now + takes
        self._world.later(takes, lambda: self._computed(done))

    def _computed(self, done: list[_Window]) -> None:
        self.is_busy = False
        for window in done:
            self._world.later(self._world.case.hop, lambda window=window: window.student.answered(window))  # type: ignore[misc]
        self._feed()


class _Student:
    """Learns from windows in order; whenever it takes one up, it asks for another."""

    def __init__(self, world: _World, job: str) -> None:
        case = world.case
        self.job = job
        self._world = world
        self._learning = case.students * case.window_rows / case.batch_rows / (case.replicas * case.load)
        self._known: dict[int, Known] = {}
        self._asked: deque[_Window] = deque()
        self._unsent: deque[_Window] = deque()
        """Of these, those that no replica was chosen for."""
        self._answered: set[_Window] = set()
        self._numbers = itertools.count()
        self._is_learning = False

    def ask(self) -> None:
        """As many windows as may be under way."""
        while len(self._asked) < IN_FLIGHT:
            window = _Window(next(self._numbers), self)
            self._asked.append(window)
            self._unsent.append(window)
            if len(self._unsent) == 1:
                self._choose()

    def answered(self, window: _Window) -> None:
        self._answered.add(window)
        self._go_on()

    def _go_on(self) -> None:
        if self._is_learning or not self._asked or self._asked[0] not in self._answered:
            return
        self._answered.discard(self._asked.popleft())
        self._is_learning = True
        self.ask()
        self._world.later(self._learning, self._learned)

    def _learned(self) -> None:
        self._is_learning = False
        self._go_on()

    def _choose(self) -> None:
        """The replica of the first window; as in the real router, one window after the other."""
        world, places = self._world, range(len(self._world.replicas))
        if len(places) == 1:
            self._send(0)
            return
        choice = choosing(places, self._known, clock=lambda: world.now, draw=world.draw, stale_s=world.case.stale)
        self._inquire(choice, next(choice))

    def _inquire(self, choice: "_Choice", questions: list[Question[int]]) -> None:
        world = self._world

        def arrive() -> None:
            replies = [
                (question.replica, *world.replicas[question.replica].expect(self._unsent[0], question.at_most_s))
                for question in questions
            ]
            world.later(world.case.question, lambda: self._hear(choice, replies))

        world.later(world.case.question, arrive) if questions else self._hear(choice, [])

    def _hear(self, choice: "_Choice", replies: list[tuple[int, Left, bool]]) -> None:
        self._known |= {place: Known(*left, at=self._world.now) for place, left, _ in replies}
        try:
            questions = choice.send([place for place, _, is_promised in replies if is_promised])
        except StopIteration as chosen:
            self._send(chosen.value)
        else:
            self._inquire(choice, questions)

    def _send(self, place: int) -> None:
        window = self._unsent.popleft()
        self._world.later(self._world.case.hop, lambda: self._world.replicas[place].take(window))
        if self._unsent:
            self._choose()


_Choice = Generator[list[Question[int]], Collection[int], int]
