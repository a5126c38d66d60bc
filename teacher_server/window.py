"""A window of rows on the wire: what an ensemble takes, and how the tensors of an answer are called.

Shapes: N rows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

from distill.contracts.errors import InvalidSpec, TooLarge
from distill.contracts.models import ImageInput, InputSpec, TokensInput
from distill.contracts.taps import TapSpec
from distill.contracts.wire import AskHeader

INPUTS = "inputs"
LOGITS = "logits"
TOP_LOG_PROBS, TOP_CLASSES, TOP_TAIL = "top.log_probs", "top.classes", "top.tail"
DIGESTS = "digests"
MAX_WINDOW_BYTES = 64 * 2**20
"""Four times what a student of ours asks at once."""

Array = np.ndarray[Any, np.dtype[Any]]


def tap_key(member: int, tap: TapSpec) -> str:
    """What a member's tap is called in an answer."""
    return f"tap.{member}.{tap.key}"


def read_header(header: Mapping[str, Any]) -> AskHeader:
    """The header of a request.

    Raises:
        InvalidSpec: it is not one; the field is named.
    """
    try:
        return AskHeader.model_validate(header)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidSpec(
            f"the request's header is wrong at '{field}': {first['msg']}", field=field, got=repr(first["input"])[:100]
        ) from error


def read_inputs(header: AskHeader, tensors: Mapping[str, Array], taken: InputSpec) -> Array:
    """The rows of a request (N, ...), checked against what the teacher takes.

    Raises:
        InvalidSpec: other tensors, type, shape or values than the teacher takes.
        TooLarge: more than `MAX_WINDOW_BYTES`.
    """
    if set(tensors) != {INPUTS}:
        raise _wrong("the request's tensors", f"'{INPUTS}' alone", ", ".join(sorted(tensors)) or "none")
    inputs = tensors[INPUTS]
    dtype, row_shape = row_layout(taken)
    if not isinstance(inputs, np.ndarray) or inputs.dtype != dtype:
        raise _wrong("the type of the inputs", f"a numpy array of {dtype}", str(getattr(inputs, "dtype", type(inputs))))
    if inputs.shape != (header.num_rows, *row_shape):
        raise _wrong("the shape of the inputs", str((header.num_rows, *row_shape)), str(inputs.shape))
    if inputs.nbytes > MAX_WINDOW_BYTES:
        raise TooLarge(
            f"a window of {inputs.nbytes} bytes is more than the {MAX_WINDOW_BYTES} that a teacher takes: ask for fewer rows",
            field=INPUTS,
        )
    _check_values(inputs, taken)
    return inputs


def row_layout(taken: InputSpec) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The type and the shape of one row."""
    if isinstance(taken, ImageInput):
        return np.dtype(np.uint8), (taken.channels, taken.height, taken.width)
    if isinstance(taken, TokensInput):
        return np.dtype(np.int64), (taken.length,)
    return np.dtype(np.float32), (taken.features,)


def _check_values(inputs: Array, taken: InputSpec) -> None:
    if isinstance(taken, TokensInput):
        # an id outside of the vocabulary is no mere error on a GPU: it breaks the process for everybody
        if inputs.min() < 0 or inputs.max() >= taken.vocabulary:
            raise _wrong("a token id", f"0 to {taken.vocabulary - 1}", f"{inputs.min()} to {inputs.max()}")
    elif inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
        row = int(np.argmin(np.isfinite(inputs).all(axis=1)))
        raise _wrong("the inputs", "finite numbers", f"NaN or infinity in row {row}")


def _wrong(what: str, expected: str, got: str) -> InvalidSpec:
    return InvalidSpec(f"{what}: expected {expected}, got {got}", field=INPUTS, expected=expected, got=got)
