"""The header of a teacher's request and of its answer; tensors travel beside them, raw, never as JSON.

Request tensors: ``inputs`` (N, ...), raw as the student saw them: after augmentation, before normalisation.
Answer tensors, M members as asked:

    ``logits``          (N, M, C) float16 or float32; without ``top_k``
    ``top.log_probs``   (N, M, k) float16: the k greatest log-probabilities, greatest first; with ``top_k``
    ``top.classes``     (N, M, k) uint16: whose they are
    ``top.tail``        (N, M) float32: the probability of all other classes together
    ``tap.<member>.<key>``  (N, ...) for each tap asked, reduced on the teacher's device where a reduced form was asked for
    ``digests``         (N,) uint64: of the inputs as the teacher received them (`teacher_server.digests`)
"""

from typing import Literal, Self

from pydantic import Field

from distill.contracts.base import Digest, Spec, Stored
from distill.contracts.taps import MemberTap

AnswerPrecision = Literal["fp32", "fp16"]

MAX_TOP_CLASSES = 65_536
"""Classes are named by uint16 where only the greatest are sent."""


class AskHeader(Spec):
    """What is asked of a window of rows."""

    request_id: str = Field(min_length=1, max_length=64)
    team: str = Field(default="default", min_length=1, max_length=48)
    job: str = Field(default="", max_length=64)
    num_rows: int = Field(ge=1)
    members: tuple[int, ...] | None = None
    """Positions of the members asked; left out: all."""
    precision: AnswerPrecision = "fp16"
    top_k: int | None = Field(default=None, ge=1)
    """Only so many classes, with the mass of the others; left out: logits of all."""
    taps: tuple[MemberTap, ...] = ()
    """What is wanted of members' inner modules too."""
    remember: bool = True
    """Whether the answer book may answer, and keep what is computed."""
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
    recalled_rows: int = 0
    """Of these, rows that were not computed for this request."""
    seconds: float
    """From arrival at the replica to the answer."""
    compute_seconds: float
    """Of these, on the device; of a batch that several requests share, the share of its own rows."""


class BookKey(Spec):
    """One answer book: what must be equal for a row's answer to be the same answer. The row itself is its digest."""

    teacher: Digest
    """Of members' weights, models and inputs."""
    compute: str
    """The precision policy of the teacher's forward pass."""
    members: tuple[int, ...]
    precision: AnswerPrecision
    top_k: int | None = None
    taps: tuple[MemberTap, ...] = ()

    @classmethod
    def of(cls, ask: AskHeader, *, teacher: Digest, compute: str, num_members: int) -> Self:
        """The book that answers to ``ask`` stand in; ``num_members`` is how many the teacher has."""
        return cls(
            teacher=teacher,
            compute=compute,
            members=tuple(range(num_members)) if ask.members is None else ask.members,
            precision=ask.precision,
            top_k=ask.top_k,
            taps=ask.taps,
        )
