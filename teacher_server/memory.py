"""What a replica needs of the answer book: known answers, and who computes the rest.

A row is claimed by one claimant at a time, a window of some replica's; others wait for its answer instead of computing
it too. Claims end with the answer, with `release`, or a few seconds after their claimant fell silent.

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
    edition: str = ""
    """Names the book as it is now: one that was loaded or begun anew has another, and must be checked again."""
    is_confirmed: bool = True
    """Whether students may have it already."""


def nothing_known(num_rows: int) -> Consulted:
    """Everything is the asker's."""
    none_N = np.zeros(num_rows, bool)
    return Consulted(none_N, ~none_N, {})


class Memory(Protocol):
    """The answer book as a replica meets it: where it is away, nothing is known and everything is the asker's."""

    async def consult(self, key: BookKey, digests: Array, *, claimant: str) -> Consulted:
        """Known answers to rows with these digests (N, 16); the unknown ones that nobody computes become the asker's."""

    async def wait(self, key: BookKey, digests: Array, *, claimant: str, timeout_s: float) -> Consulted:
        """The same for rows that another one computes: as soon as something of them is known or free, or time is over."""

    def hand_in(self, key: BookKey, digests: Array, answers: Mapping[str, Array], *, claimant: str) -> None:
        """Keep what was computed, and end its claims; returns at once. The arrays must not change any more."""

    def release(self, key: BookKey, digests: Array, *, claimant: str) -> None:
        """End claims without an answer; returns at once."""

    async def confirm(self, key: BookKey, edition: str) -> None:
        """A sample of the book was asked again live, and was the same."""

    async def refuse(self, key: BookKey, edition: str, why: str) -> None:
        """A sample of the book was asked again live, and was not the same: nobody may use it any more."""


class NoMemory:
    """Knows nothing, and keeps nothing."""

    async def consult(self, key: BookKey, digests: Array, *, claimant: str) -> Consulted:
        """Everything is the asker's."""
        return nothing_known(len(digests))

    async def wait(self, key: BookKey, digests: Array, *, claimant: str, timeout_s: float) -> Consulted:
        """Nobody else computes anything."""
        return nothing_known(len(digests))

    def hand_in(self, key: BookKey, digests: Array, answers: Mapping[str, Array], *, claimant: str) -> None:
        """Forget it."""

    def release(self, key: BookKey, digests: Array, *, claimant: str) -> None:
        """There are no claims."""

    async def confirm(self, key: BookKey, edition: str) -> None:
        """There is no book."""

    async def refuse(self, key: BookKey, edition: str, why: str) -> None:
        """There is no book."""


def open_memory(claimant: str) -> Memory:
    """The answer book that Serve runs, for the replica of this name; it may be away, or not there at all.

    Call it where an event loop runs.
    """
    # here, not above: whoever has no book needs no Ray
    from ray.serve.handle import DeploymentHandle

    from distill.contracts import names
    from teacher_server.book.far import FarMemory

    return FarMemory(claimant, DeploymentHandle(names.BOOK_DEPLOYMENT, names.BOOK_APPLICATION))
