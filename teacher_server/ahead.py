"""Batches asked ahead: several in a window, so that neither the wire nor the teacher is ever waited for batch by batch.

Shapes: N rows.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

import numpy as np

from teacher_server.remote_answer import RemoteAnswer
from teacher_server.window import Array


class TorchLike(Protocol):
    """A torch tensor, as far as rows are read from it."""

    def detach(self) -> "TorchLike":
        """Without its gradient."""

    def cpu(self) -> "TorchLike":
        """In this machine's memory."""

    def numpy(self) -> Array:
        """As an array."""


class Pending(Protocol):
    """An answer that is on its way."""

    def result(self) -> RemoteAnswer:
        """Wait for it."""

    def cancel(self) -> None:
        """Nobody wants it any more."""


Rows = Array | TorchLike
"""(N, ...), as numpy or torch."""
Batch = TypeVar("Batch")


def as_array(rows: Rows) -> Array:
    """Rows (N, ...) as numpy has them; a copy only where they don't lie one after the other."""
    return np.ascontiguousarray(rows if isinstance(rows, np.ndarray) else rows.detach().cpu().numpy())


def ask_ahead(
    ask: Callable[[Array], Pending],
    batches: Iterable[Batch],
    inputs: Callable[[Batch], Rows],
    *,
    ahead: int,
    window_rows: int,
) -> Iterator[tuple[Batch, RemoteAnswer]]:
    """Each batch with its answer, in their order; ``ahead`` windows are under way while one is learned from."""
    waiting: deque[tuple[list[Batch], list[int], Pending]] = deque()
    try:
        for window, sizes, rows in _windows(batches, inputs, window_rows):
            waiting.append((window, sizes, ask(rows)))
            if len(waiting) > ahead:
                yield from _told_apart(*waiting.popleft())
        while waiting:
            yield from _told_apart(*waiting.popleft())
    finally:
        for _, _, pending in waiting:
            pending.cancel()


def _windows(
    batches: Iterable[Batch], inputs: Callable[[Batch], Rows], window_rows: int
) -> Iterator[tuple[list[Batch], list[int], Array]]:
    """Batches, the sizes of each, and all their rows: one batch at first, so that learning begins, then ever more."""
    held: list[Batch] = []
    arrays: list[Array] = []
    num_rows = target = 0
    for batch in batches:
        array = as_array(inputs(batch))
        if held and num_rows + len(array) > target:
            yield held, [len(one) for one in arrays], np.concatenate(arrays)
            held, arrays, num_rows, target = [], [], 0, min(window_rows, 2 * target)
        held.append(batch)
        arrays.append(array)
        num_rows += len(array)
        target = max(target, num_rows)
    if held:
        yield held, [len(one) for one in arrays], np.concatenate(arrays)


def _told_apart(window: list[Batch], sizes: list[int], pending: Pending) -> Iterator[tuple[Batch, RemoteAnswer]]:
    answer, start = pending.result(), 0
    for batch, size in zip(window, sizes, strict=True):
        yield batch, answer.part(start, start + size)
        start += size
