"""What the student minimises: the job file's terms, summed with their weights.

Shapes: N rows, M members of all teachers in job-file order, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from distill.contracts.ensemble import EnsembleSpec
from distill.contracts.errors import InvalidSpec
from distill.contracts.objective import LabelsTerm, ServedTarget, SoftTargetsTerm, Term
from distill.science.ensembles import base_weights, combine
from distill.science.losses import label_loss, soft_target_loss


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

    @property
    def num_members(self) -> int:
        """M."""
        return sum(num_members for _, num_members in self.teachers)

    def weights(self) -> Tensor:
        """Each member's weight, (M,) float32."""
        return torch.tensor([weight / members for weight, members in self.teachers for _ in range(members)])

    def members_of(self, target: ServedTarget) -> slice:
        """The part of M that ``target`` means.

        Raises:
            InvalidSpec: there is no such teacher, or it has no such member.
        """
        if target.teacher is None:
            return slice(0, self.num_members)
        if target.teacher >= len(self.teachers):
            raise _no_such("teacher", target.teacher, len(self.teachers))
        start = sum(num_members for _, num_members in self.teachers[: target.teacher])
        _, num_members = self.teachers[target.teacher]
        if target.member is None:
            return slice(start, start + num_members)
        if target.member >= num_members:
            raise _no_such("member", target.member, num_members)
        return slice(start + target.member, start + target.member + 1)


@dataclass(frozen=True)
class Targets:
    """What the scheme supplies for one step's rows."""

    served_logits_NMC: Tensor | None = None  # noqa: N815 - tensor names carry their shape
    """The pool's answers, (N, M, C), any float dtype; None where the job has no teacher."""


class Objective:
    """The weighted sum of the terms, for one step's rows at a time."""

    def __init__(self, terms: Sequence[Term], *, ensemble: EnsembleSpec, layout: MemberLayout) -> None:
        """Check each term's target against the teachers.

        Raises:
            InvalidSpec: a term names a teacher or member that isn't there.
        """
        self.terms = tuple(terms)
        self.ensemble = ensemble
        self.base_M = base_weights(layout.weights(), ensemble)
        self.num_members = layout.num_members
        self.members = {
            place: layout.members_of(term.target)
            for place, term in enumerate(self.terms)
            if isinstance(term, SoftTargetsTerm)
        }
        if self.members and not self.num_members:
            raise _no_such("teacher", 0, 0)
        self.names = _names(self.terms)

    def __call__(self, student_NC: Tensor, labels_N: Tensor, targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of these rows.

        Args:
            student_NC: student logits, (N, C); gradients flow.
            labels_N: class numbers, (N,) int64, -1 where a row has no label that may be used.
            targets: what the scheme supplies for the same rows.

        Returns:
            The loss, a scalar with a gradient, and every term's own value before its weight, detached, by name:
            the term's kind, with its place behind it where a kind comes twice (``soft_targets.2``).

        Raises:
            ValueError: a term needs targets that didn't come, or whose shape doesn't fit.
        """
        values = [self._value(place, term, student_NC, labels_N, targets) for place, term in enumerate(self.terms)]
        loss = torch.stack([term.weight * value for term, value in zip(self.terms, values, strict=True)]).sum()
        return loss, {name: value.detach() for name, value in zip(self.names, values, strict=True)}

    def _value(self, place: int, term: Term, student_NC: Tensor, labels_N: Tensor, targets: Targets) -> Tensor:
        if isinstance(term, LabelsTerm):
            return label_loss(student_NC, labels_N, smoothing=term.smoothing)
        logits_NMC = targets.served_logits_NMC
        if logits_NMC is None or logits_NMC.dim() != 3 or logits_NMC.shape[1] != self.num_members:
            came = "none" if logits_NMC is None else str(tuple(logits_NMC.shape))
            raise ValueError(f"served logits must be (N, {self.num_members}, C), and came: {came}")
        part = self.members[place]
        teacher_NC = combine(
            logits_NMC[:, part],
            base_M=self.base_M[part],
            spec=self.ensemble,
            temperature=term.temperature,
            labels_N=labels_N,
        )
        return soft_target_loss(student_NC, teacher_NC, temperature=term.temperature)


def _names(terms: Sequence[Term]) -> tuple[str, ...]:
    kinds = [term.kind for term in terms]
    return tuple(kind if kinds.count(kind) == 1 else f"{kind}.{place}" for place, kind in enumerate(kinds))


def _no_such(what: str, place: int, count: int) -> InvalidSpec:
    there = f"positions go from 0 to {count - 1}" if count else "there are none"
    return InvalidSpec(
        f"objective: a term's target names {what} {place}, but {there}",
        field=f"objective.target.{what}",
        expected=there,
        got=str(place),
    )
