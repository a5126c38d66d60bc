"""Values over a training's progress: a number, or how it changes from the first step (0) to after the last (1)."""

import math
from bisect import bisect_right
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from distill.contracts.base import Spec


class _Ramp(Spec):
    start: float
    stop: float
    begin: float = Field(default=0.0, ge=0, lt=1)
    """Progress up to which the value is ``start``."""
    end: float = Field(default=1.0, gt=0, le=1)
    """Progress from which on it is ``stop``; 1 is after the last step."""

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> Self:
        if self.begin >= self.end:
            raise ValueError(f"'end', {self.end:g}, must come after 'begin', {self.begin:g}")
        return self


class Linear(_Ramp):
    """In a straight line from ``start`` to ``stop``."""

    kind: Literal["linear"]


class Cosine(_Ramp):
    """Along half a cosine from ``start`` to ``stop``: slow, fast, slow."""

    kind: Literal["cosine"]


class Steps(Spec):
    """One value after another: ``values[0]`` until progress ``at[0]``, then ``values[1]``, and so on."""

    kind: Literal["steps"]
    values: tuple[float, ...] = Field(min_length=2, max_length=64)
    at: tuple[float, ...] = Field(min_length=1, max_length=63)

    @model_validator(mode="after")
    def _a_moment_between_two_values(self) -> Self:
        check_moments(self.at, len(self.values))
        return self


Schedule = Linear | Cosine | Steps


def _kind(value: Any) -> str | None:
    if isinstance(value, dict):
        return str(value.get("kind"))
    return getattr(value, "kind", "number")


Scheduled = Annotated[
    Annotated[float, Tag("number")]
    | Annotated[Linear, Tag("linear")]
    | Annotated[Cosine, Tag("cosine")]
    | Annotated[Steps, Tag("steps")],
    Discriminator(
        _kind,
        custom_error_type="wrong_form",
        custom_error_message="expected a number, or a schedule: a mapping whose 'kind' is linear, cosine or steps",
    ),
]
"""A number, or how it changes over the training."""


def value_at(scheduled: float | Schedule, progress: float) -> float:
    """The value at ``progress``: 0 at the first step, 1 after the last."""
    if isinstance(scheduled, Steps):
        return scheduled.values[bisect_right(scheduled.at, progress)]
    if not isinstance(scheduled, _Ramp):
        return scheduled
    share = min(1.0, max(0.0, (progress - scheduled.begin) / (scheduled.end - scheduled.begin)))
    if isinstance(scheduled, Cosine):
        share = 0.5 * (1 - math.cos(math.pi * share))
    return scheduled.start + (scheduled.stop - scheduled.start) * share


def extremes(scheduled: float | Schedule) -> tuple[float, float]:
    """The least and the greatest value that it ever has."""
    if isinstance(scheduled, Steps):
        return min(scheduled.values), max(scheduled.values)
    if isinstance(scheduled, _Ramp):
        return min(scheduled.start, scheduled.stop), max(scheduled.start, scheduled.stop)
    return scheduled, scheduled


def turns(scheduled: float | Schedule) -> tuple[float, ...]:
    """The moments within (0, 1) at which it begins or ends to change; between two of them it is 0 throughout or never."""
    if isinstance(scheduled, Steps):
        return scheduled.at
    if isinstance(scheduled, _Ramp):
        return tuple(moment for moment in (scheduled.begin, scheduled.end) if 0 < moment < 1)
    return ()


def _not_negative(scheduled: float | Schedule) -> float | Schedule:
    if extremes(scheduled)[0] < 0:
        raise ValueError(f"expected values >= 0 throughout, and its least is {extremes(scheduled)[0]:g}")
    return scheduled


def _temperature(scheduled: float | Schedule) -> float | Schedule:
    least, greatest = extremes(scheduled)
    if least <= 0 or greatest > 1000:
        raise ValueError(
            f"expected temperatures > 0 and <= 1000 throughout, and they go from {least:g} to {greatest:g}"
        )
    return scheduled


Weight = Annotated[Scheduled, AfterValidator(_not_negative)]
"""How much something counts, >= 0 at every moment."""

Temperature = Annotated[Scheduled, AfterValidator(_temperature)]
"""Divides logits, > 0 at every moment; 1.0 leaves them as they are."""


def check_moments(at: tuple[float, ...], num_values: int) -> None:
    """See that the moments ``at`` part ``num_values`` values.

    Raises:
        ValueError: another number of moments, or moments that don't rise within (0, 1).
    """
    if len(at) != num_values - 1:
        raise ValueError(f"{num_values} values need {num_values - 1} moments in 'at' between them, not {len(at)}")
    if not all(before < after for before, after in zip((0.0, *at), (*at, 1.0), strict=True)):
        raise ValueError(f"'at' must rise between 0 (the first step) and 1 (the end), and says {list(at)}")
