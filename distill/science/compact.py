"""Members' logits as they travel and are kept: dense, or the greatest classes and the mass of all others.

Shapes: N rows, M members, K greatest classes, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from distill.science.top_classes import spread


@dataclass(frozen=True)
class CompactLogits:
    """What members say of N rows, in as few bytes as it came."""

    tensors: tuple[Tensor, ...]
    """``(logits (N, M, C),)``, or ``(log_probs (N, M, K), classes (N, M, K), tail (N, M))`` of the greatest classes."""
    num_classes: int
    """C."""

    @classmethod
    def of(cls, logits_NMC: Tensor) -> Self:
        """Dense logits, as they are."""
        return cls((logits_NMC,), logits_NMC.shape[-1])

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, rows: slice | Tensor) -> Self:
        return type(self)(tuple(tensor[rows] for tensor in self.tensors), self.num_classes)

    @classmethod
    def join(cls, parts: Sequence[Self], *, dim: int = 0) -> Self:
        """One after the other: rows (0), or members (1)."""
        if len(parts) == 1:
            return parts[0]
        tensors = zip(*(part.tensors for part in parts), strict=True)
        return cls(tuple(torch.cat(same, dim=dim) for same in tensors), parts[0].num_classes)

    def dense(self) -> Tensor:
        """(N, M, C): the logits, or log-probabilities where the mass of the other classes is spread evenly over them."""
        if len(self.tensors) == 1:
            return self.tensors[0]
        log_probs_NMK, classes_NMK, tail_NM = self.tensors
        return spread(log_probs_NMK, classes_NMK, tail_NM, self.num_classes)
