"""What a teacher said over HTTP: checked before anyone learns from it, in numpy alone.

Shapes: N rows, M members as asked, C classes, K of them the greatest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import ValidationError

from distill.contracts.errors import InvalidAnswer, NotFinite
from distill.contracts.taps import MemberTap
from distill.contracts.teachers import ResolvedTeacher
from distill.contracts.wire import AnswerHeader, AskHeader
from teacher_server.digests import row_digests, short_digests
from teacher_server.window import DIGESTS, LOGITS, TOP_CLASSES, TOP_LOG_PROBS, TOP_TAIL, Array, tap_key

DTYPES: dict[str, np.dtype[Any]] = {"fp32": np.dtype(np.float32), "fp16": np.dtype(np.float16)}
CHECKED_ROWS = 8
"""Of each answer, spread over it: hashing all of them would cost a small student a twentieth of its speed."""

Layout = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Name -> (shape, type)."""


@dataclass(frozen=True)
class TopClasses:
    """The greatest classes of each row and member, greatest first."""

    log_probs: Array
    """(N, M, K) float16."""
    classes: Array
    """(N, M, K) uint16: whose they are."""
    tail: Array
    """(N, M) float32: the probability of all other classes together."""


@dataclass(frozen=True)
class RemoteAnswer:
    """What a teacher said to rows; the arrays are its own, and ``torch.from_numpy`` takes them without a copy."""

    tensors: Mapping[str, Array]
    """By their names on the wire (`distill.contracts.wire`), (N, ...) each."""
    num_classes: int
    headers: tuple[AnswerHeader, ...]
    """One for each window that was sent."""

    @property
    def members(self) -> tuple[int, ...]:
        """Who spoke: positions of members, one for each of M."""
        return self.headers[0].members

    @cached_property
    def logits(self) -> Array:
        """(N, M, C), float16 or float32 as asked; with ``top_k`` log-probabilities, float32, the tail spread evenly."""
        return self.tensors[LOGITS] if self.top is None else spread(self.top, self.num_classes)

    @property
    def top(self) -> TopClasses | None:
        """With ``top_k`` what came, as it came."""
        if TOP_CLASSES not in self.tensors:
            return None
        return TopClasses(self.tensors[TOP_LOG_PROBS], self.tensors[TOP_CLASSES], self.tensors[TOP_TAIL])

    def feature(self, wanted: MemberTap) -> Array:
        """(N, ...) of a tap that was asked."""
        return self.tensors[tap_key(wanted.member, wanted.tap)]

    def part(self, start: int, stop: int) -> "RemoteAnswer":
        """The answer to some of its rows, without a copy."""
        return RemoteAnswer(
            {key: tensor[start:stop] for key, tensor in self.tensors.items()}, self.num_classes, self.headers
        )


def spread(top: TopClasses, num_classes: int) -> Array:
    """Logits of all classes, float32 (N, M, C), the tail's mass spread evenly over the classes that weren't sent.

    `distill.science.top_classes.spread`, in numpy.
    """
    least = np.finfo(np.float32).tiny
    top_NMK, tail_NM1 = top.log_probs.astype(np.float32), top.tail[..., None]
    share_NM1 = np.maximum(tail_NM1 / np.float32(num_classes - top_NMK.shape[-1]), least)
    # the greatest come first, so this is the logarithm of a sum without an overflow
    summed_NM1 = top_NMK[..., :1] + np.log(np.exp(top_NMK - top_NMK[..., :1]).sum(axis=-1, keepdims=True))
    top_NMK = top_NMK + np.log(np.maximum(1 - tail_NM1, least)) - summed_NM1
    logits_NMC = np.repeat(np.log(share_NM1), num_classes, axis=-1)
    np.put_along_axis(logits_NMC, top.classes.astype(np.int64), top_NMK, axis=-1)
    return logits_NMC


def join(parts: Sequence[tuple[AnswerHeader, Mapping[str, Array]]], num_classes: int) -> RemoteAnswer:
    """The answers to several windows, in their order, as one."""
    headers, tensors = zip(*parts, strict=True)
    joined = {
        key: np.concatenate([one[key] for one in tensors]) if len(tensors) > 1 else tensors[0][key]
        for key in tensors[0]
    }
    return RemoteAnswer(joined, num_classes, headers)


def read_answer(
    header: Mapping[str, Any], tensors: Mapping[str, Array], *, ask: AskHeader, inputs: Array, teacher: ResolvedTeacher
) -> tuple[AnswerHeader, dict[str, Array]]:
    """The header and the tensors of an answer, checked, without the digests.

    Raises:
        InvalidAnswer: it is for other rows, of another teacher, or has wrong or missing tensors.
        NotFinite: a tensor holds NaN or infinity.
    """
    said = _header(header, teacher)
    members = ask.members or tuple(range(len(teacher.manifest.members)))
    _expect(teacher, "digest", teacher.digest, said.digest)
    _expect(teacher, "request id", ask.request_id, said.request_id)
    _expect(teacher, "number of rows", ask.num_rows, said.num_rows)
    _expect(teacher, "members", members, said.members)
    wanted = _layout(ask, members, teacher)
    _expect(teacher, "tensors", sorted([*wanted, DIGESTS]), sorted(tensors))
    for key, (shape, dtype) in wanted.items():
        _check_tensor(teacher, key, tensors[key], shape, dtype)
    _check_rows(teacher, tensors[DIGESTS], inputs)
    return said, {key: tensors[key] for key in wanted}


def _header(header: Mapping[str, Any], teacher: ResolvedTeacher) -> AnswerHeader:
    try:
        return AnswerHeader.model_validate(header)
    except ValidationError as error:
        raise InvalidAnswer(f"{teacher.reference} answered with a header that is none") from error


def _layout(ask: AskHeader, members: tuple[int, ...], teacher: ResolvedTeacher) -> Layout:
    manifest, dtype = teacher.manifest, DTYPES[ask.precision]
    spoken = (ask.num_rows, len(members))
    wanted: Layout = {LOGITS: ((*spoken, len(manifest.classes)), dtype)}
    if ask.top_k is not None:
        wanted = {
            TOP_LOG_PROBS: ((*spoken, ask.top_k), np.dtype(np.float16)),
            TOP_CLASSES: ((*spoken, ask.top_k), np.dtype(np.uint16)),
            TOP_TAIL: (spoken, np.dtype(np.float32)),
        }
    for asked in ask.taps:
        shape = asked.tap.row_shape(manifest.members[asked.member].taps)
        wanted[tap_key(asked.member, asked.tap)] = ((ask.num_rows, *shape), dtype)
    return wanted


def _check_tensor(
    teacher: ResolvedTeacher, key: str, tensor: Array, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    _expect(teacher, f"shape of '{key}'", shape, tensor.shape)
    # an inner module may give whole numbers
    if not key.startswith("tap.") or tensor.dtype.kind == "f":
        _expect(teacher, f"type of '{key}'", dtype, tensor.dtype)
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        raise NotFinite(f"{teacher.reference} answered with NaN or infinity in '{key}'")


def _check_rows(teacher: ResolvedTeacher, digests: Array, inputs: Array) -> None:
    """See that the answer is to these rows and in their order, on some of them."""
    _expect(teacher, f"shape of '{DIGESTS}'", (len(inputs),), digests.shape)
    rows = np.unique(np.linspace(0, len(inputs) - 1, CHECKED_ROWS).astype(int))
    own = short_digests(row_digests(np.ascontiguousarray(inputs[rows])))
    _expect(teacher, "digests of rows", own.tolist(), digests[rows].tolist())


def _expect(teacher: ResolvedTeacher, what: str, expected: object, got: object) -> None:
    if expected != got:
        raise InvalidAnswer(
            f"{teacher.reference} answered with the wrong {what}: expected {expected}, got {got}",
            expected=str(expected),
            got=str(got),
        )
