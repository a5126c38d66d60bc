"""What a replica says of itself, about once a second: its load, and what each team had of it; and what it hears: weights.

One thread with a Redis client of its own does all of it: whoever is counted never waits. Sums that Redis doesn't take
are kept, and sent later.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from redis import Redis
from redis.exceptions import RedisError

from distill.contracts.base import now
from distill.contracts.pool import ReplicaLoad, TeacherUsage
from distill.journal.pool import Usage, add_usage, read_weights, remove_load, write_load

log = logging.getLogger(__name__)

PERIOD_S = 1.0
OVER_S = 5.0
"""Rates are of the last so many seconds."""


class Gauge(NamedTuple):
    """How a queue and its device stand."""

    queued_rows: int
    """Rows that wait for the device, or are on it."""
    rows_computed: int
    """Since the start."""
    busy_s: float
    """For so long the device has computed, since the start."""


class Meter:
    """Counts what teams had of one replica, and keeps Redis told.

    Nothing is sent before `start`; `close` sends what is left, and waits for that only a few seconds.
    """

    def __init__(
        self, redis: Redis, *, teacher: str, application: str, replica: str, clock: Callable[[], datetime] = now
    ) -> None:
        """Count for a replica.

        Args:
            redis: for the meter alone.
            teacher: ``name@version``.
            application: the teacher's Serve application.
            replica: unlike any other there ever was.
            clock: of months.
        """
        self._redis = redis
        self._teacher = teacher
        self._application = application
        self._replica = replica
        self._clock = clock
        self._lock = threading.Lock()
        self._counted: dict[tuple[str, str], TeacherUsage] = {}
        self._sending: Usage = {}
        self._number = 0
        self._is_silent = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def answered(self, team: str, *, computed_rows: int, recalled_rows: int, device_s: float) -> None:
        """Count a window that was answered; rows are rows times members."""
        self._count(team, rows_computed=computed_rows, rows_recalled=recalled_rows, device_seconds=device_s)

    def refused(self, team: str) -> None:
        """Count a window that was refused."""
        self._count(team, refusals=1)

    def start(self, gauge: Callable[[], Gauge], on_weights: Callable[[Mapping[str, float]], None]) -> None:
        """Say about once a second what ``gauge`` shows, and hand the teams' weights on; both from another thread."""
        self._thread = threading.Thread(target=self._run, args=(gauge, on_weights), name="meter", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 3.0) -> None:
        """Send what is left, take the load back, and end the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                log.warning("Redis didn't take the last figures of %s in %g s", self._replica, timeout_s)

    def _count(self, team: str, **figures: float) -> None:
        key = team, self._clock().strftime("%Y-%m")
        with self._lock:
            before = self._counted.get(key) or TeacherUsage(teacher=self._teacher)
            added = {name: getattr(before, name) + amount for name, amount in figures.items()}
            self._counted[key] = before.model_copy(update=added)

    def _run(self, gauge: Callable[[], Gauge], on_weights: Callable[[Mapping[str, float]], None]) -> None:
        rates = Rates(gauge(), at=time.monotonic())
        while not self._stop.wait(PERIOD_S):
            self._try(lambda: self._tell(rates.load(gauge(), at=time.monotonic()), on_weights))
        self._try(self._end)

    def _tell(self, rates: "Load", on_weights: Callable[[Mapping[str, float]], None]) -> None:
        on_weights(read_weights(self._redis))
        load = ReplicaLoad(replica=self._replica, at=now(), **rates._asdict())
        write_load(self._redis, self._application, load)
        self._send()

    def _end(self) -> None:
        remove_load(self._redis, self._application, self._replica)
        self._send()  # again what may have got lost, and then the rest
        self._send()

    def _send(self) -> None:
        if not self._sending:
            with self._lock:
                self._sending, self._counted = self._counted, {}
            self._number += 1
        if self._sending:
            add_usage(self._redis, self._sending, writer=self._replica, number=self._number)
            self._sending = {}

    def _try(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except RedisError as error:
            if not self._is_silent:
                log.warning("Redis doesn't answer (%s); figures of %s are kept and sent later", error, self._replica)
            self._is_silent = True
        else:
            self._is_silent = False


class Load(NamedTuple):
    """What a `ReplicaLoad` says."""

    queued_rows: int
    rows_per_s: float
    busy: float


class Rates:
    """Rates over the last few seconds, from how far a gauge has come."""

    def __init__(self, gauge: Gauge, *, at: float) -> None:
        """``at`` is when it showed that, on a clock that never goes back."""
        self._seen = deque([(at, gauge)])

    def load(self, gauge: Gauge, *, at: float) -> Load:
        """The load, with what the gauge shows now."""
        self._seen.append((at, gauge))
        while len(self._seen) > 2 and self._seen[1][0] <= at - OVER_S:
            self._seen.popleft()
        since, before = self._seen[0]
        seconds = at - since
        return Load(
            queued_rows=gauge.queued_rows,
            rows_per_s=(gauge.rows_computed - before.rows_computed) / seconds,
            busy=min(1.0, max(0.0, (gauge.busy_s - before.busy_s) / seconds)),
        )
