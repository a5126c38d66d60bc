"""A pool of teachers without a cluster: it answers from the rows themselves, and remembers how it was asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from distill.contracts.errors import TeacherUnavailable
from distill.science.compact import CompactLogits


@dataclass
class FakeAnswer:
    logits: CompactLogits
    members: tuple[int, ...]
    features: Mapping[tuple[int, str], Tensor]


@dataclass
class FakePending:
    pool: "FakePool"
    inputs: Tensor
    members: tuple[int, ...]

    def result(self) -> FakeAnswer:
        """Answer now; the pool counts what is under way."""
        self.pool.in_flight -= 1
        logits_NMC = self.pool.answer(self.inputs)[:, list(self.members)]
        return FakeAnswer(CompactLogits.of(logits_NMC), self.members, {})


@dataclass
class FakePool:
    """Two members that read ten classes off the first ten numbers of a row; silent after ``windows`` windows."""

    windows: int | None = None
    answer_with: Callable[[Tensor], Tensor] | None = None
    asked: list[int] = field(default_factory=list)
    asked_members: list[tuple[int, ...]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    wait_s: float = 0.0
    rows_recalled: int = 0

    @property
    def rows_asked(self) -> int:
        return sum(self.asked)

    def ask(self, inputs: Tensor, *, members: Sequence[int] | None = None, with_taps: bool = True) -> FakePending:
        """Take a window."""
        self.asked.append(len(inputs))
        self.asked_members.append(tuple(members or (0, 1)))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return FakePending(self, inputs, self.asked_members[-1])

    def answer(self, inputs: Tensor) -> Tensor:
        """(N, 2, 10) logits."""
        if self.windows is not None:
            self.windows -= 1
            if self.windows < 0:
                raise TeacherUnavailable("nobody answers")
        return (self.answer_with or logits_of)(inputs)


def logits_of(inputs: Tensor) -> Tensor:
    """What the fake teacher says of these rows, (N, 2, 10)."""
    first_NC = inputs.flatten(1)[:, 20:30].float() / 16
    return torch.stack([first_NC, -first_NC], dim=1)
