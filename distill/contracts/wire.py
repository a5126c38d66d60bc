"""The header of a teacher's request and of its answer; tensors travel beside them, raw, never as JSON.

Request tensors: ``inputs`` (N, ...), raw as the student saw them: after augmentation, before normalisation.
Answer tensors: ``logits`` (N, M, C) float16 or float32, M members as asked; for each tap asked ``tap.<member>.<key>``
(N, ...), reduced on the teacher's device where a reduced form was asked for.
"""

from typing import Literal

from pydantic import Field

from distill.contracts.base import Spec, Stored
from distill.contracts.taps import MemberTap


class AskHeader(Spec):
    """What is asked of a window of rows."""

    request_id: str = Field(min_length=1, max_length=64)
    team: str = "default"
    job: str = ""
    num_rows: int = Field(ge=1)
    members: tuple[int, ...] | None = None
    """Positions of the members asked; left out: all."""
    precision: Literal["fp32", "fp16"] = "fp16"
    taps: tuple[MemberTap, ...] = ()
    """What is wanted of members' inner modules too."""
    deadline_s: float = Field(default=60.0, gt=0)
    """Seconds from arrival in which its turn must come; after that it is refused."""


class AnswerHeader(Stored):
    """What came back."""

    request_id: str
    teacher: str
    """``name@version``."""
    digest: str
    num_rows: int
    members: tuple[int, ...]
    seconds: float
    """From arrival at the replica to the answer."""
    compute_seconds: float
    """Of these, on the device."""
