"""What a teacher's reply must be, before anyone learns from it.

Shapes: N rows, M members of the teacher, C classes.
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
from teacher_server.window import DIGESTS, LOGITS, Array, tap_key

DTYPES: dict[str, np.dtype[Any]] = {"fp32": np.dtype(np.float32), "fp16": np.dtype(np.float16)}


def read_reply(reply: Any, ask: AskHeader, teacher: ResolvedTeacher) -> tuple[AnswerHeader, dict[str, Tensor]]:
    """The header and the tensors of a reply, checked; the tensors are copies of their own.

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
    _expect(teacher, f"shape of '{DIGESTS}'", (ask.num_rows,), np.shape(tensors[DIGESTS]))
    for key, shape in wanted.items():
        _check_tensor(teacher, key, tensors[key], shape, DTYPES[ask.precision])
    # copies: what Ray hands out can't be written to, and holds the object store's memory
    return header, {key: torch.from_numpy(np.array(tensors[key])) for key in wanted}


def _parts(reply: Any, teacher: ResolvedTeacher) -> tuple[AnswerHeader, Mapping[str, Array]]:
    try:
        header, tensors = reply
        return AnswerHeader.model_validate(header), dict(tensors)
    except (TypeError, ValueError, ValidationError) as error:
        raise InvalidAnswer(f"{teacher.reference} answered with something that is no header and tensors") from error


def _layout(ask: AskHeader, teacher: ResolvedTeacher) -> dict[str, tuple[int, ...]]:
    manifest = teacher.manifest
    logits_shape = (ask.num_rows, len(ask.members or manifest.members), len(manifest.classes))
    tap_shapes = {
        tap_key(asked.member, asked.tap): (ask.num_rows, *asked.tap.row_shape(manifest.members[asked.member].taps))
        for asked in ask.taps
    }
    return {LOGITS: logits_shape, **tap_shapes}


def _check_tensor(
    teacher: ResolvedTeacher, key: str, tensor: Any, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    _expect(teacher, f"shape of '{key}'", shape, np.shape(tensor))
    if key == LOGITS or tensor.dtype.kind == "f":
        _expect(teacher, f"type of '{key}'", dtype, tensor.dtype)
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        raise NotFinite(f"{teacher.reference} answered with NaN or infinity in '{key}'", field="teachers")


def _expect(teacher: ResolvedTeacher, what: str, expected: object, got: object) -> None:
    if expected != got:
        raise InvalidAnswer(
            f"{teacher.reference} answered with the wrong {what}: expected {expected}, got {got}",
            expected=str(expected),
            got=str(got),
        )
