"""The answer book as a student meets it: rows recalled in bulk, from a process that is connected to Ray.

    line = BookLine()
    pending = line.recall(key, digests)     # sent at once; go on with other work
    recalled = pending.result(timeout_s=1)  # None: the book is away, ask the teachers

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
from teacher_server.memory import Consulted
from teacher_server.window import Array

log = logging.getLogger(__name__)

QUIET_S = 5.0
"""A book that didn't answer isn't asked again for so long."""
FRESH_LINE_S = 15.0
"""Silence after which the line is opened anew: Serve itself may have been shut down and started again."""


class BookLine:
    """The way to the cluster's answer book, for one thread at a time; it makes no claims."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._handle: Any = None
        self._heard_at = clock()
        self._quiet_until = 0.0
        self._is_away = False

    def recall(self, key: BookKey, digests: Array) -> "PendingRecall":
        """Ask for known answers to rows with these digests (N, 16); returns without waiting."""
        if self._clock() < self._quiet_until or not ray.is_initialized():
            return PendingRecall(self, None)
        try:
            if self._handle is None:
                self._handle = DeploymentHandle(names.BOOK_DEPLOYMENT, names.BOOK_APPLICATION)
            return PendingRecall(self, self._handle.recall.remote(key.model_dump_json(), digests))
        except (RayError, RayServeException) as error:
            self.not_heard(f"{type(error).__name__}: {error}")
            return PendingRecall(self, None)

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


class PendingRecall:
    """A recall that is on its way."""

    def __init__(self, line: BookLine, response: Any) -> None:
        self._line = line
        self._response = response

    def result(self, timeout_s: float) -> Consulted | None:
        """What the book knows, at most after ``timeout_s``; None if it is away or slow. Ask once."""
        if self._response is None:
            return None
        response, self._response = self._response, None
        try:
            recalled: Consulted = response.result(timeout_s=timeout_s)
        except TimeoutError:
            _cancel(response)
            self._line.not_heard(f"no answer in {timeout_s:g} s")
            return None
        except (RayError, RayServeException) as error:
            self._line.not_heard(f"{type(error).__name__}: {error}")
            return None
        self._line.heard()
        return recalled

    def cancel(self) -> None:
        """Nobody wants it any more; harmless after it came."""
        response, self._response = self._response, None
        if response is not None:
            _cancel(response)


def _cancel(response: Any) -> None:
    # else it waits for a book that isn't there for ever; best effort: one that is gone can't be told
    with contextlib.suppress(RayError, RayServeException):
        response.cancel()
