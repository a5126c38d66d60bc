"""What is said of one step's rows: by the student in training, and by those who teach it.

Shapes: N rows, M members, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from distill.contracts.errors import InvalidSpec
from distill.contracts.objective import ServedTarget

TapOf = tuple[int, str]
"""Position of a member, key of a tap."""


@dataclass(frozen=True)
class Output:
    """What a student says, with its gradient."""

    logits_NC: Tensor  # noqa: N815 - tensor names carry their shape
    heads_NMC: Tensor | None = None  # noqa: N815
    """One head a member, where the student has several; ``logits_NC`` is then their aggregate."""
    features: Mapping[str, Tensor] = field(default_factory=dict)
    """Dotted module name -> its output, (N, ...)."""


@dataclass(frozen=True)
class Answers:
    """What some members say; constants."""

    logits_NMC: Tensor  # noqa: N815
    """(N, M, C), any float dtype, M as in ``members``."""
    members: tuple[int, ...]
    """Positions of those who spoke."""
    features: Mapping[TapOf, Tensor] = field(default_factory=dict)
    """(N, ...) by member and tap."""

    def __len__(self) -> int:
        return len(self.logits_NMC)

    def __getitem__(self, rows: slice) -> Self:
        features = {key: tensor[rows] for key, tensor in self.features.items()}
        return type(self)(self.logits_NMC[rows], self.members, features)

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        features = {key: tensor.to(device) for key, tensor in self.features.items()}
        return type(self)(self.logits_NMC.to(device), self.members, features)

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """One after the other, of the same members and taps."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        features = {key: torch.cat([part.features[key] for part in parts]) for key in first.features}
        return cls(torch.cat([part.logits_NMC for part in parts]), first.members, features)


Targets = Mapping[str, Answers]
"""What each source says of one step's rows: ``served``, ``peers``, ``fused``, ``self``, ``average``, ``view``."""


@dataclass(frozen=True)
class MemberLayout:
    """Where each teacher's members stand along M, and how much each counts."""

    teachers: tuple[tuple[float, int], ...]
    """(weight, number of members) of each teacher, in job-file order; a weight is split evenly over the members."""

    @classmethod
    def of(cls, teachers: Sequence[tuple[float, int]]) -> Self:
        """From (weight, number of members) pairs.

        Raises:
            ValueError: a weight is not positive, or a teacher has no member.
        """
        if any(weight <= 0 or num_members < 1 for weight, num_members in teachers):
            raise ValueError(f"each teacher needs a weight > 0 and at least one member: {list(teachers)}")
        return cls(teachers=tuple((float(weight), int(num_members)) for weight, num_members in teachers))

    @classmethod
    def even(cls, num_members: int) -> Self:
        """Members of one source, all alike."""
        return cls.of([(float(num_members), num_members)])

    @property
    def num_members(self) -> int:
        """M."""
        return sum(num_members for _, num_members in self.teachers)

    def weights(self) -> Tensor:
        """Each member's weight, (M,) float32."""
        return torch.tensor([weight / members for weight, members in self.teachers for _ in range(members)])

    def members_of(self, target: object) -> tuple[int, ...]:
        """The positions along M that ``target`` means: all, unless it names a teacher or a member.

        Raises:
            InvalidSpec: there is no such teacher, or it has no such member.
        """
        if not isinstance(target, ServedTarget) or target.teacher is None:
            return tuple(range(self.num_members))
        if target.teacher >= len(self.teachers):
            raise _no_such("teacher", target.teacher, len(self.teachers))
        start = sum(num_members for _, num_members in self.teachers[: target.teacher])
        _, num_members = self.teachers[target.teacher]
        if target.member is None:
            return tuple(range(start, start + num_members))
        if target.member >= num_members:
            raise _no_such("member", target.member, num_members)
        return (start + target.member,)


def _no_such(what: str, place: int, count: int) -> InvalidSpec:
    there = f"positions go from 0 to {count - 1}" if count else "there are none"
    return InvalidSpec(
        f"objective: a term's target names {what} {place}, but {there}",
        field=f"objective.target.{what}",
        expected=there,
        got=str(place),
    )
