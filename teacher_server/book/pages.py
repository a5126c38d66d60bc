"""One book in memory: the answers of its rows, found by digest.

Shapes: N rows at hand, K of them known, R rows in the book.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from distill.contracts.errors import InvalidAnswer
from teacher_server.digests import DIGEST_BYTES, digest_keys
from teacher_server.window import Array

ROW_INDEX_BYTES = 180
"""What the index takes for a row: a digest as bytes, a number, and their place in the dictionary."""
FIRST_CAPACITY = 1024


@dataclass(frozen=True)
class Rows:
    """Rows and their answers."""

    digests: Array
    """(N, 16) uint8."""
    answers: Mapping[str, Array]
    """Tensors (N, ...), at least one."""

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def num_bytes(self) -> int:
        """Of digests and answers."""
        return self.digests.nbytes + sum(tensor.nbytes for tensor in self.answers.values())

    def check(self) -> None:
        """See that they are what they should be.

        Raises:
            InvalidAnswer: they are not.
        """
        if self.digests.dtype != np.uint8 or self.digests.shape[1:] != (DIGEST_BYTES,):
            raise InvalidAnswer(
                f"digests must be uint8 (N, {DIGEST_BYTES}), and are {self.digests.dtype} {self.digests.shape}"
            )
        lengths = {name: tensor.shape[:1] for name, tensor in self.answers.items()}
        if not lengths or set(lengths.values()) != {(len(self),)}:
            raise InvalidAnswer(f"answers to {len(self)} rows must be as many rows each, and are {lengths}")


class Pages:
    """Answers that only grow; the first answer to a row stays. Rows not yet written to storage are the last ones."""

    def __init__(self) -> None:
        self.num_rows = 0
        self.num_saved = 0
        """So many of them, from the first on, are on storage."""
        self._row_of: dict[bytes, int] = {}
        self._digests_R = np.empty((0, DIGEST_BYTES), np.uint8)
        self._answers_R: dict[str, Array] = {}

    @property
    def num_bytes(self) -> int:
        """Memory that the rows take, with their index."""
        return self.num_rows * (self.row_bytes + ROW_INDEX_BYTES)

    @property
    def row_bytes(self) -> int:
        """Of one row and its digest."""
        return DIGEST_BYTES + sum(
            tensor.itemsize * int(np.prod(tensor.shape[1:])) for tensor in self._answers_R.values()
        )

    @property
    def num_unsaved(self) -> int:
        """Rows that storage doesn't have yet."""
        return self.num_rows - self.num_saved

    def find(self, digests: Array) -> Array:
        """The row of each digest (N, 16), int (N,); -1 where it is not known."""
        row_of = self._row_of
        return np.array([row_of.get(key, -1) for key in digest_keys(digests)], np.intp)

    def take(self, rows_K: Array) -> dict[str, Array]:
        """Answers (K, ...) of these rows: copies."""
        return {name: tensor.take(rows_K, axis=0) for name, tensor in self._answers_R.items()} if len(rows_K) else {}

    def add(self, rows: Rows) -> int:
        """Keep those that are new, and say how many they are.

        Raises:
            InvalidAnswer: their tensors differ from the first rows' in name, type or shape.
        """
        rows.check()
        self._check_layout(rows)
        fresh: dict[bytes, int] = {}
        for at, key in enumerate(digest_keys(rows.digests)):
            if key not in self._row_of:
                fresh.setdefault(key, at)
        start, stop = self.num_rows, self.num_rows + len(fresh)
        self._grow(stop)
        at_K = np.fromiter(fresh.values(), np.intp, len(fresh))
        self._digests_R[start:stop] = rows.digests[at_K]
        for name, tensor in self._answers_R.items():
            tensor[start:stop] = rows.answers[name][at_K]
        self._row_of.update(zip(fresh, range(start, stop), strict=True))
        self.num_rows = stop
        return len(fresh)

    def rows(self, start: int, stop: int) -> Rows:
        """A view of these rows: they never change, so that a thread may write them while others are added."""
        return Rows(self._digests_R[start:stop], {name: part[start:stop] for name, part in self._answers_R.items()})

    def _check_layout(self, rows: Rows) -> None:
        expected = {name: (str(tensor.dtype), tensor.shape[1:]) for name, tensor in self._answers_R.items()}
        got = {name: (str(tensor.dtype), tensor.shape[1:]) for name, tensor in rows.answers.items()}
        if not expected:
            self._answers_R = {name: np.empty((0, *shape), dtype) for name, (dtype, shape) in got.items()}
        elif expected != got:
            raise InvalidAnswer(
                "answers of other types or shapes than the book's own", expected=str(expected), got=str(got)
            )

    def _grow(self, num_rows: int) -> None:
        if num_rows <= len(self._digests_R):
            return
        capacity = max(FIRST_CAPACITY, num_rows, self.num_rows * 3 // 2)
        self._digests_R = _grown(self._digests_R, self.num_rows, capacity)
        self._answers_R = {name: _grown(part, self.num_rows, capacity) for name, part in self._answers_R.items()}


def _grown(tensor: Array, num_rows: int, capacity: int) -> Array:
    grown = np.empty((capacity, *tensor.shape[1:]), tensor.dtype)
    grown[:num_rows] = tensor[:num_rows]
    return grown
