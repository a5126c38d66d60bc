"""A rank's own memory of answers, by place: who saw a row in a view once needs not ask about it again.

The answer book of the pool remembers for everybody and for good; this one saves the way there. It ends with the process.
A place is reserved when its row is asked for, and filled when the answer comes: batches are learned from in the order in
which they were read, so whoever finds a place reserved will find it filled.

Shapes: N rows of one rank's step.
"""

import torch
from torch import Tensor

from student_worker.said import Said

MAX_BYTES = 1 << 30
"""Of all answers that one rank keeps; what doesn't fit is asked for again."""

Speaking = tuple[int, ...] | None
"""Positions of the members that are asked; None for all."""


class RowMemory:
    """Answers of each group of members that speaks together. It never forgets, and takes no more once it is full."""

    def __init__(self, num_places: int, *, max_rows: int) -> None:
        """Remember nothing yet.

        Args:
            num_places: places are numbered from 0: one for each row in each view.
            max_rows: as many answers are kept, over all groups.
        """
        self._num_places = num_places
        self._rows_left = max_rows
        self._shelves: dict[Speaking, _Shelf] = {}

    def reserve(self, places_N: Tensor, speaking: Speaking) -> Tensor:
        """Which of these rows must be asked for, bool (N,); the others are known, or will be when their turn comes."""
        shelf = self._shelves.get(speaking)
        if shelf is None:
            # memory that is not written to is not taken: the operating system gives pages as they are filled
            shelf = self._shelves[speaking] = _Shelf(self._num_places, min(self._num_places, self._rows_left))
        asked_N = shelf.slot_of[places_N] < 0
        self._rows_left -= shelf.reserve(places_N[asked_N], self._rows_left)
        return asked_N

    def keep(self, places_N: Tensor, speaking: Speaking, said: Said) -> None:
        """Remember what was said of rows that were to be asked for, as far as a place is reserved for it."""
        self._shelves[speaking].keep(places_N, said)

    def recall(self, places_N: Tensor, speaking: Speaking) -> Said:
        """The answers at these places, which needed not be asked for."""
        return self._shelves[speaking].recall(places_N)


class _Shelf:
    """The answers of one group of members."""

    def __init__(self, num_places: int, num_slots: int) -> None:
        self.slot_of = torch.full((num_places,), -1, dtype=torch.int32)
        self._num_slots = num_slots
        self._num_reserved = 0
        self._like: Said | None = None
        self._tensors: list[Tensor] = []

    def reserve(self, places_N: Tensor, at_most: int) -> int:
        places_N = torch.unique(places_N)[: min(at_most, self._num_slots - self._num_reserved)]
        stop = self._num_reserved + len(places_N)
        self.slot_of[places_N] = torch.arange(self._num_reserved, stop, dtype=torch.int32)
        self._num_reserved = stop
        return len(places_N)

    def keep(self, places_N: Tensor, said: Said) -> None:
        if self._like is None:
            self._like = said[:0]
            self._tensors = [tensor.new_empty((self._num_slots, *tensor.shape[1:])) for tensor in said.tensors]
        slots_N = self.slot_of[places_N]
        has_slot = slots_N >= 0
        for kept, tensor in zip(self._tensors, said.tensors, strict=True):
            _bits(kept)[slots_N[has_slot].long()] = _bits(tensor[has_slot])

    def recall(self, places_N: Tensor) -> Said:
        assert self._like is not None  # noqa: S101 - whoever may recall comes after one who kept
        slots_N = self.slot_of[places_N]
        return self._like.with_tensors([tensor.index_select(0, slots_N) for tensor in self._tensors])


def _bits(tensor: Tensor) -> Tensor:
    """The same memory in a type that torch can put by index: numbers of classes are uint16, and can't be."""
    return tensor.view(torch.int16) if tensor.dtype == torch.uint16 else tensor
