"""What a replica needs of the answer book: known answers, and who computes the rest.

A row is claimed by one replica at a time; others wait for its answer instead of computing it too. Claims end with the
answer, with `release`, or a few seconds after their claimant fell silent.

Shapes: N rows asked about, K of them known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from distill.contracts.wire import BookKey
from teacher_server.window import Array


@dataclass(frozen=True)
class Consulted:
    """What the book says of rows; a row that is neither known nor mine is being computed elsewhere."""

    known_N: Array  # noqa: N815
    """(N,) bool."""
    mine_N: Array  # noqa: N815
    """(N,) bool: claimed for the asker, who has to compute them and hand them in, or release them."""
    answers: Mapping[str, Array]
    """Tensors (K, ...) of the known rows, in their order; empty if none is known."""


class Memory(Protocol):
    """The answer book as a replica meets it: where it is away, nothing is known and everything is the asker's."""

    async def consult(self, key: BookKey, digests: Array) -> Consulted:
        """Known answers to rows with these digests (N, 16); the unknown ones that nobody computes become the asker's."""

    async def wait(self, key: BookKey, digests: Array, *, timeout_s: float) -> Consulted:
        """The same for rows that another one computes: as soon as something of them is known or free, or time is over."""

    def hand_in(self, key: BookKey, digests: Array, answers: Mapping[str, Array]) -> None:
        """Keep what was computed, and end its claims; returns at once."""

    def release(self, key: BookKey, digests: Array) -> None:
        """End claims without an answer; returns at once."""

    async def confirm(self, key: BookKey) -> None:
        """A sample of the book was asked again live, and was the same."""

    async def refuse(self, key: BookKey, why: str) -> None:
        """A sample of the book was asked again live, and was not the same: nobody may use it any more."""


class NoMemory:
    """Knows nothing, and keeps nothing."""

    async def consult(self, key: BookKey, digests: Array) -> Consulted:
        """Everything is the asker's."""
        none_N = np.zeros(len(digests), bool)
        return Consulted(none_N, ~none_N, {})

    async def wait(self, key: BookKey, digests: Array, *, timeout_s: float) -> Consulted:
        """Nobody else computes anything."""
        return await self.consult(key, digests)

    def hand_in(self, key: BookKey, digests: Array, answers: Mapping[str, Array]) -> None:
        """Forget it."""

    def release(self, key: BookKey, digests: Array) -> None:
        """There are no claims."""

    async def confirm(self, key: BookKey) -> None:
        """There is no book."""

    async def refuse(self, key: BookKey, why: str) -> None:
        """There is no book."""
