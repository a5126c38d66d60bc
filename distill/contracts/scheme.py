"""Who teaches beside the pool: nobody (offline), peers that learn together (online), or the student itself (self)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from distill.contracts.base import Spec
from distill.contracts.schedules import Temperature, Weight
from distill.contracts.students import StudentSpec


class Offline(Spec):
    """Frozen, served teachers, or none."""

    kind: Literal["offline"] = "offline"


class Fusion(Spec):
    """A head on the peers' joined features that learns beside them and teaches them: the target ``fused``.

    It learns from the labels and from the mean of the peers' logits. Source: Kim et al. (2019), feature fusion learning,
    arXiv:1904.09058.
    """

    taps: tuple[str, ...] = Field(min_length=2, max_length=8)
    """Whose features are joined: a dotted module name of the student, then one of each peer."""
    channels: int = Field(default=64, ge=1, le=4096)
    """Of the joined features."""
    temperature: Temperature = 3.0
    weight: Weight = 1.0
    """Of the head's own loss."""


class Online(Spec):
    """Peers trained together with the student, each with the job's objective: the target ``peers``.

    Source: Zhang, Xiang, Hospedales, Lu (2018), deep mutual learning, arXiv:1706.00384.
    """

    kind: Literal["online"]
    peers: tuple[StudentSpec, ...] = Field(min_length=1, max_length=7)
    """The student's companions; it alone is measured and exported."""
    fusion: Fusion | None = None

    @model_validator(mode="after")
    def _a_tap_of_each(self) -> Self:
        if self.fusion is not None and len(self.fusion.taps) != len(self.peers) + 1:
            raise ValueError(
                f"fusion.taps: the student and {len(self.peers)} peers need {len(self.peers) + 1} names, "
                f"not {len(self.fusion.taps)}"
            )
        return self


class MovingAverage(Spec):
    """A copy of the student whose weights are an exponential moving average of its own: the target ``average``.

    Source: Tarvainen, Valpola (2017), arXiv:1703.01780.
    """

    decay: float = Field(default=0.999, ge=0, lt=1)
    """Of the average, at each step; early on it is at most (1 + step) / (10 + step)."""


class Transformed(Spec):
    """The student itself on the same images, transformed; its features are transformed back: the target ``view``.

    The idea of comprehensive attention self-distillation (Huang et al., 2020, arXiv:2010.12023), on classification.
    """

    transform: Literal["flip", "rotate"] = "flip"
    """``flip``: mirrored left to right; ``rotate``: turned by a quarter."""


class SelfTaught(Spec):
    """The student teaches itself: its last layer (the target ``self``), its own average, its own other view."""

    kind: Literal["self"]
    average: MovingAverage | None = None
    view: Transformed | None = None


SchemeSpec = Annotated[Offline | Online | SelfTaught, Field(discriminator="kind")]


def students_of(student: StudentSpec, scheme: SchemeSpec) -> dict[str, StudentSpec]:
    """Field of the job file -> spec, of all that are trained together: the student, then its peers."""
    peers = scheme.peers if isinstance(scheme, Online) else ()
    return {"student": student} | {f"scheme.peers.{place}": peer for place, peer in enumerate(peers)}
