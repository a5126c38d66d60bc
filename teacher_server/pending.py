"""Rows on their way through the device: requests that wait for their answer, and device batches made of several.

Shapes: N rows of a request, B rows of a device batch.
"""

from asyncio import Future
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from distill.contracts.errors import NotFinite
from distill.contracts.taps import MemberTap
from distill.contracts.wire import AnswerPrecision
from teacher_server.launched import Fetched
from teacher_server.runner import Ensemble
from teacher_server.window import Array


@dataclass(frozen=True)
class Computed:
    """What the device said."""

    tensors: dict[str, Array]
    """(N, ...) of each, N the rows that were to be computed."""
    device_s: float
    """Of the batches that they were part of, the share of their rows."""


class Shape(NamedTuple):
    """What must be equal for rows to be computed together."""

    members: tuple[int, ...]
    precision: AnswerPrecision
    top_k: int | None
    taps: tuple[MemberTap, ...]


class Pending:
    """One request's rows, and what of their answer is there; two requests are never equal."""

    def __init__(self, inputs: Array, shape: Shape, answered: "Future[Computed]") -> None:
        self.inputs = inputs
        self.shape = shape
        self.answered = answered
        self.has_begun = False
        """Whether any of its rows has left the queue."""
        self._pieces: dict[int, Mapping[str, Array]] = {}
        self._num_rows = 0
        self._device_s = 0.0

    def add(self, start: int, tensors: Mapping[str, Array], *, num_rows: int, device_s: float) -> Computed | None:
        """Keep the answer to some rows; the whole, once it is there. Pieces come in any order, from one thread."""
        self._pieces[start] = tensors
        self._num_rows += num_rows
        self._device_s += device_s
        if self._num_rows < len(self.inputs):
            return None
        pieces = [self._pieces[start] for start in sorted(self._pieces)]
        joined = pieces[0] if len(pieces) == 1 else {key: np.concatenate([p[key] for p in pieces]) for key in pieces[0]}
        return Computed(dict(joined), self._device_s)

    def settle(self, outcome: Computed | Exception) -> None:
        """Wake who waits, unless nobody does any more."""
        if self.answered.done():
            return
        if isinstance(outcome, Computed):
            self.answered.set_result(outcome)
        else:
            self.answered.set_exception(outcome)


@dataclass(frozen=True)
class Batch:
    """Rows that the device computes together."""

    parts: Sequence[tuple[Pending, int, int]]
    """(request, start, stop), all of one shape."""

    @property
    def shape(self) -> Shape:
        """What is asked of every row."""
        return self.parts[0][0].shape

    @property
    def num_rows(self) -> int:
        """B."""
        return sum(stop - start for _, start, stop in self.parts)

    @property
    def work(self) -> int:
        """Rows times members."""
        return self.num_rows * len(self.shape.members)

    def inputs(self) -> Array:
        """(B, ...)."""
        slices = [pending.inputs[start:stop] for pending, start, stop in self.parts]
        return slices[0] if len(slices) == 1 else np.concatenate(slices)

    def alone(self) -> Iterator["Batch"]:
        """The rows of each request that somebody still waits for, as a batch of their own."""
        return (Batch([part]) for part in self.parts if not part[0].answered.done())

    def outcomes(
        self, fetched: Fetched, ensemble: Ensemble, *, device_s: float
    ) -> list[tuple[Pending, Computed | Exception]]:
        """The requests that are done with this batch: whole, or failed for rows of their own that are not finite."""
        done: list[tuple[Pending, Computed | Exception]] = []
        first = 0
        for pending, start, stop in self.parts:
            own = slice(first, first + stop - start)
            first = own.stop
            outcome = _fault(fetched, own, ensemble) or pending.add(
                start,
                {key: tensor[own] for key, tensor in fetched.tensors.items()},
                num_rows=stop - start,
                device_s=device_s * (stop - start) / self.num_rows,
            )
            if outcome is not None:
                done.append((pending, outcome))
        return done


def _fault(fetched: Fetched, own: slice, ensemble: Ensemble) -> NotFinite | None:
    for key, bad_B in fetched.bad.items():
        if bad_B[own].any():
            overflowed = bool((fetched.overflowed[key][own] == bad_B[own]).all())
            return ensemble.not_finite(key, overflowed=overflowed)
    return None
