"""The append-only writer: facts leave in order, each applied once, and a silent Redis stops nobody for a while."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

from distill.contracts import names
from distill.contracts.errors import AttemptSuperseded, DependencyDown
from distill.contracts.facts import Fact, WorkerFact
from distill.contracts.names import Kind
from distill.contracts.records import Progress

log = logging.getLogger(__name__)

WAKE_LENGTH = 10_000
PROGRESS_LENGTH = 500
RETRY_S = 0.5
LOOK_S = 0.5
FIGURES_KEPT = 8
"""Live figures that wait for a slow Redis; older ones are dropped."""


def append_fact(redis: Redis, kind: Kind, identity: str, fact: Fact) -> None:
    """Put one fact into the inbox and wake the control plane.

    Raises:
        redis.RedisError: Redis doesn't answer; whether the fact is in is not known.
    """
    with redis.pipeline(transaction=True) as pipe:
        pipe.xadd(names.inbox_key(kind, identity), {"fact": fact.model_dump_json()})
        pipe.xadd(names.WAKE_KEY, {"kind": kind, "id": identity}, maxlen=WAKE_LENGTH, approximate=True)
        pipe.execute()


class Journal:
    """Appends the facts of one writer of one attempt of one job.

    ``append`` and ``progress`` never wait for Redis: a thread sends facts in order and repeats what was not confirmed;
    numbers make the repetition harmless. Use it as a context manager: leaving it flushes.
    """

    def __init__(self, redis: Redis, job: str, *, attempt: int, writer: str, max_offline_s: float = 600) -> None:
        self._redis = redis
        self._job = job
        self._attempt = attempt
        self._writer = writer
        self._max_offline_s = max_offline_s
        self._number = 0
        self._waiting: deque[WorkerFact] = deque()
        self._figures: deque[Progress] = deque(maxlen=FIGURES_KEPT)
        self._changed = threading.Condition()
        self._closed = False
        self._offline_since: float | None = None
        self._thread = threading.Thread(target=self._send_all, name=f"journal-{writer}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        given_up = kind is not None and issubclass(kind, AttemptSuperseded | DependencyDown)
        self.close(0 if given_up else None)  # nobody waits for the word of an attempt that no longer counts

    def append(self, fact: WorkerFact) -> None:
        """Queue ``fact``; attempt, writer and number are filled in here.

        Raises:
            DependencyDown: Redis has been silent for longer than ``max_offline_s``.
        """
        with self._changed:
            self._raise_if_offline_too_long()
            self._number += 1
            stamped = {"attempt": self._attempt, "writer": self._writer, "number": self._number}
            self._waiting.append(fact.model_copy(update=stamped))
            self._changed.notify_all()

    def progress(self, progress: Progress) -> None:
        """Publish live figures as soon as no fact waits; dropped without a word of complaint if Redis is silent."""
        with self._changed:
            self._figures.append(progress)
            self._changed.notify_all()

    def flush(self, timeout_s: float, *, unless: Callable[[], bool] = lambda: False) -> bool:
        """Wait until Redis has everything; False if it hasn't after ``timeout_s``, or once ``unless`` says so."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._waiting or self._figures:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or self._closed or unless():
                    return False
                self._changed.wait(min(left_s, LOOK_S))
            return True

    def close(self, timeout_s: float | None = None, *, unless: Callable[[], bool] = lambda: False) -> bool:
        """Flush and end the thread; as `flush`, but for ``max_offline_s`` where no time is named. Again is harmless."""
        is_delivered = self.flush(self._max_offline_s if timeout_s is None else timeout_s, unless=unless)
        if not is_delivered and not self._closed:
            log.error("%d facts of %s were not taken by Redis, and are given up", len(self._waiting), self._job)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=10)
        return is_delivered

    def _send_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._figures or self._closed)
                if self._closed:
                    return
                fact = self._waiting[0] if self._waiting else None
            if fact is None:
                self._show()
            elif self._send(fact):
                with self._changed:
                    self._waiting.popleft()
                    self._changed.notify_all()
            else:
                time.sleep(RETRY_S)

    def _send(self, fact: WorkerFact) -> bool:
        try:
            append_fact(self._redis, "job", self._job, fact)
        except RedisError as error:
            if self._offline_since is None:
                log.warning("Redis doesn't answer (%s); facts of %s are kept and sent again", error, self._job)
                self._offline_since = time.monotonic()
            return False
        self._offline_since = None
        return True

    def _show(self) -> None:
        """Send the oldest figures, once."""
        try:
            self._redis.xadd(
                names.progress_key(self._job),
                {"progress": self._figures[0].model_dump_json()},
                maxlen=PROGRESS_LENGTH,
                approximate=True,
            )
        except RedisError as error:
            log.debug("progress of %s dropped: %s", self._job, error)
        with self._changed:
            self._figures.popleft()
            self._changed.notify_all()

    def _raise_if_offline_too_long(self) -> None:
        if self._offline_since is None:
            return
        silent_s = time.monotonic() - self._offline_since
        if silent_s > self._max_offline_s:
            raise DependencyDown(f"Redis has been silent for {silent_s:.0f} s, more than max_offline_s allows")
