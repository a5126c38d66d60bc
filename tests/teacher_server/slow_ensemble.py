"""An ensemble for the queue's tests: it computes when it is told to, and breaks where it is told to."""

import threading
from typing import Any

import numpy as np

from distill.contracts.errors import NotFinite, TooLarge
from teacher_server.launched import Fetched
from teacher_server.window import Array
from tests.teacher_server.small_teachers import IMAGE

BAD, BREAKS, LARGE = 255, 254, 253
"""First pixels of rows whose answer is infinite, and that break the device; so many rows have too large an answer."""


class SlowEnsemble:
    """Answers each row with its first pixel, once ``go`` is set."""

    input = IMAGE
    num_members = 1

    def __init__(self, batch_rows: int = 8) -> None:
        self.batch_rows = batch_rows
        self.go = threading.Event()
        self.started = threading.Event()
        self.batches: list[list[int]] = []
        """First pixels of the rows of each batch, as they were launched."""
        self.is_gone = False
        self.may_fetch = threading.Event()
        """Clear it for a device that computes while others are launched."""
        self.may_fetch.set()

    def choose_members(self, asked: Any) -> tuple[int, ...]:
        return (0,)

    def check_taps(self, taps: Any, members: Any) -> None:
        pass

    def check_answer_size(self, num_rows: int, **_: Any) -> None:
        if num_rows == LARGE:
            raise TooLarge("the answer would be too large")

    def launch(self, inputs: Array, **_: Any) -> "SlowBatch":
        self.started.set()
        self.go.wait(10)
        pixels = inputs[:, 0, 0, 0]
        self.batches.append(pixels.tolist())
        if self.is_gone or BREAKS in pixels:
            raise RuntimeError("the device is gone")
        return SlowBatch(inputs, self.may_fetch)

    def not_finite(self, key: str, *, overflowed: bool) -> NotFinite:
        return NotFinite(f"NaN or infinity in '{key}'" + (", beyond half precision" if overflowed else ""))


class SlowBatch:
    """What `SlowEnsemble` has launched."""

    def __init__(self, inputs: Array, may_fetch: threading.Event) -> None:
        self._inputs = inputs
        self._may_fetch = may_fetch

    def fetch(self) -> Fetched:
        self._may_fetch.wait(10)
        bad_B = self._inputs[:, 0, 0, 0] == BAD
        faults = {"logits": bad_B} if bad_B.any() else {}
        logits_BMC = self._inputs[:, :, :1, 0].astype(np.float32)
        return Fetched({"logits": logits_BMC}, faults, {key: np.zeros_like(bad_B) for key in faults})
