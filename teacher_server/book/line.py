"""The answer book as a student meets it: rows recalled in bulk, from a process that is connected to Ray.

    line = BookLine()
    pending = line.recall(key, digests)  # sent at once; go on with other work
    while not pending.is_done:
        pending.poll(0.1)
    pending.found                        # None: the book is away, ask the teachers

Shapes: N rows, K of them known.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from distill.contracts import names
from distill.contracts.wire import BookKey
from teacher_server.fetching import fetch
from teacher_server.memory import Consulted
from teacher_server.window import Array

log = logging.getLogger(__name__)

RECALL_S = 1.0
QUIET_S = 5.0
"""A book that didn't answer isn't asked again for so long."""
FRESH_LINE_S = 15.0
"""Silence after which the line is opened anew: Serve itself may have been shut down and started again."""


class BookLine:
    """The way to the cluster's answer book, for one thread at a time; it makes no claims."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, recall_s: float = RECALL_S) -> None:
        """A book that takes longer than ``recall_s`` to answer is away."""
        self._clock = clock
        self._recall_s = recall_s
        self._handle: Any = None
        self._heard_at = clock()
        self._quiet_until = 0.0
        self._is_away = False

    def recall(self, key: BookKey, digests: Array) -> "PendingRecall":
        """Ask for known answers to rows with these digests (N, 16); returns without waiting."""
        if self._clock() < self._quiet_until or not ray.is_initialized():
            return self._pending(None)
        try:
            if self._handle is None:
                self._handle = DeploymentHandle(names.BOOK_DEPLOYMENT, names.BOOK_APPLICATION)
            response = self._handle.recall.remote(key.model_dump_json(), digests)
        except (RayError, RayServeException) as error:
            self.not_heard(f"{type(error).__name__}: {error}")
            response = None
        return self._pending(response)

    def heard(self) -> None:
        """The book answered."""
        self._heard_at = self._clock()
        if self._is_away:
            self._is_away = False
            log.warning("the answer book is back")

    def not_heard(self, why: str) -> None:
        """The book didn't answer: it is left alone for `QUIET_S`."""
        self._quiet_until = self._clock() + QUIET_S
        if self._clock() - self._heard_at > FRESH_LINE_S:
            self._handle = None
        if not self._is_away:
            self._is_away = True
            log.warning("the answer book is away, teachers are asked for everything until it is back: %s", why)

    def _pending(self, response: Any) -> "PendingRecall":
        return PendingRecall(self, response, self._clock, self._recall_s)


class PendingRecall:
    """A recall that is on its way; `poll` looks for the answer."""

    def __init__(self, line: BookLine, response: Any, clock: Callable[[], float], recall_s: float) -> None:
        self.is_done = response is None
        self.found: Consulted | None = None
        """What the book knows, once it is done; None if it is away."""
        self._line = line
        self._response = response
        self._clock = clock
        self._recall_s = recall_s
        self._until = clock() + recall_s

    def poll(self, timeout_s: float) -> None:
        """Wait for the answer, at most ``timeout_s``; the book is away if it takes too long."""
        if self.is_done:
            return
        try:
            self.found = fetch(self._response, min(timeout_s, max(0.0, self._until - self._clock())))
        except TimeoutError:
            if self._clock() < self._until:
                return
            self._line.not_heard(f"no answer in {self._recall_s:g} s")
            self.cancel()
        except (RayError, RayServeException) as error:
            self._line.not_heard(f"{type(error).__name__}: {error}")
        else:
            self._line.heard()
        self.is_done, self._response = True, None

    def cancel(self) -> None:
        """Nobody wants it any more; harmless after it came."""
        response, self._response = self._response, None
        self.is_done = True
        if response is not None:
            # else it waits for a book that isn't there for ever; best effort: one that is gone can't be told
            with contextlib.suppress(RayError, RayServeException):
                response.cancel()
