"""What the pool says of rows, as it came: it is kept, cut and joined so, and becomes `Answers` where it is learned from.

Shapes: N rows, M members, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from distill.science.answers import Answers, TapOf
from distill.science.compact import CompactLogits


@dataclass(frozen=True)
class Said:
    """Some members' words on N rows."""

    logits: CompactLogits
    members: tuple[int, ...]
    """Positions of those who spoke, as along M."""
    features: Mapping[TapOf, Tensor] = field(default_factory=dict)
    """(N, ...) by member and tap."""

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, rows: slice | Tensor) -> Self:
        features = {key: tensor[rows] for key, tensor in self.features.items()}
        return type(self)(self.logits[rows], self.members, features)

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, (N, ...) each; `with_tensors` takes others in the same order."""
        return [*self.logits.tensors, *self.features.values()]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        """The same, said of other rows."""
        count = len(self.logits.tensors)
        logits = CompactLogits(tuple(tensors[:count]), self.logits.num_classes)
        return type(self)(logits, self.members, dict(zip(self.features, tensors[count:], strict=True)))

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """One after the other, of the same members and taps."""
        if len(parts) == 1:
            return parts[0]
        return parts[0].with_tensors([torch.cat(same) for same in zip(*(part.tensors for part in parts), strict=True)])

    def answers(self) -> Answers:
        """To learn from: with dense logits."""
        return Answers(self.logits.dense(), self.members, self.features)
