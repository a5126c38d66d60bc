"""What a teacher's reply must be, before anyone learns from it.

Shapes: N rows, M members of the teacher, C classes, K greatest classes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from distill.contracts.errors import InvalidAnswer, NotFinite
from distill.contracts.teachers import ResolvedTeacher
from distill.contracts.wire import AnswerHeader, AskHeader
from teacher_server.digests import row_digests, short_digests
from teacher_server.window import DIGESTS, LOGITS, TOP_CLASSES, TOP_LOG_PROBS, TOP_TAIL, Array, tap_key

DTYPES: dict[str, np.dtype[Any]] = {"fp32": np.dtype(np.float32), "fp16": np.dtype(np.float16)}
CHECKED_ROWS = 8
"""Of each reply, spread over it: hashing all of them would cost a small student a twentieth of its speed."""

Layout = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Name -> (shape, type)."""


def read_reply(
    reply: Any, ask: AskHeader, inputs: Array, teacher: ResolvedTeacher
) -> tuple[AnswerHeader, dict[str, Tensor]]:
    """The header and the tensors of a reply to ``inputs`` (N, ...), checked; the tensors are copies of their own.

    Raises:
        InvalidAnswer: the reply is for something else, of another teacher, or has wrong or missing tensors.
        NotFinite: a tensor holds NaN or infinity.
    """
    header, tensors = _parts(reply, teacher)
    members = ask.members or tuple(range(len(teacher.manifest.members)))
    _expect(teacher, "digest", teacher.digest, header.digest)
    _expect(teacher, "request id", ask.request_id, header.request_id)
    _expect(teacher, "number of rows", ask.num_rows, header.num_rows)
    _expect(teacher, "members", members, header.members)
    wanted = _layout(ask, teacher)
    _expect(teacher, "tensors", sorted([*wanted, DIGESTS]), sorted(tensors))
    for key, (shape, dtype) in wanted.items():
        _check_tensor(teacher, key, tensors[key], shape, dtype)
    _check_rows(teacher, tensors[DIGESTS], inputs)
    return header, read_tensors({key: tensors[key] for key in wanted})


def read_tensors(tensors: Mapping[str, Array]) -> dict[str, Tensor]:
    """The tensors of an answer, copied: what Ray hands out can't be written to, and holds the object store's memory."""
    return {key: torch.from_numpy(_copied(array)) for key, array in tensors.items()}


def _copied(array: Array) -> Array:
    # torch can do little with uint16
    return array.astype(np.int32) if array.dtype == np.uint16 else np.array(array)


def _parts(reply: Any, teacher: ResolvedTeacher) -> tuple[AnswerHeader, Mapping[str, Array]]:
    try:
        header, tensors = reply
        return AnswerHeader.model_validate(header), dict(tensors)
    except (TypeError, ValueError, ValidationError) as error:
        raise InvalidAnswer(f"{teacher.reference} answered with something that is no header and tensors") from error


def _layout(ask: AskHeader, teacher: ResolvedTeacher) -> Layout:
    manifest, dtype = teacher.manifest, DTYPES[ask.precision]
    spoken = (ask.num_rows, len(ask.members or manifest.members))
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
    teacher: ResolvedTeacher, key: str, tensor: Any, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    _expect(teacher, f"shape of '{key}'", shape, np.shape(tensor))
    # an inner module may give whole numbers
    if not key.startswith("tap.") or tensor.dtype.kind == "f":
        _expect(teacher, f"type of '{key}'", dtype, tensor.dtype)
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        raise NotFinite(f"{teacher.reference} answered with NaN or infinity in '{key}'", field="teachers")


def _check_rows(teacher: ResolvedTeacher, digests: Any, inputs: Array) -> None:
    """See that the answer is to these rows and in their order, on some of them."""
    _expect(teacher, f"shape of '{DIGESTS}'", (len(inputs),), np.shape(digests))
    rows = np.unique(np.linspace(0, len(inputs) - 1, CHECKED_ROWS).astype(int))
    own = short_digests(row_digests(np.ascontiguousarray(inputs[rows])))
    _expect(teacher, "digests of rows", own.tolist(), np.asarray(digests)[rows].tolist())


def _expect(teacher: ResolvedTeacher, what: str, expected: object, got: object) -> None:
    if expected != got:
        raise InvalidAnswer(
            f"{teacher.reference} answered with the wrong {what}: expected {expected}, got {got}",
            expected=str(expected),
            got=str(got),
        )
