"""How large an answer is, from shapes alone: known before anything is computed.

Shapes: M members asked, C classes, K classes sent.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from distill.contracts.errors import TooLarge
from distill.contracts.taps import MemberTap, RowShape
from distill.contracts.wire import AnswerPrecision

MAX_ANSWER_BYTES = 256 * 2**20
"""A tap can be a thousand times larger than its input: what one window asks for must not take the node's memory."""

NUM_BYTES: dict[AnswerPrecision, int] = {"fp32": 4, "fp16": 2}


def answer_row_bytes(
    num_members: int,
    num_classes: int,
    *,
    precision: AnswerPrecision,
    top_k: int | None,
    taps: Iterable[MemberTap],
    shapes: Sequence[Mapping[str, RowShape]],
) -> int:
    """Bytes of one row's answer; ``shapes`` are those of each member's modules. A tap counts as floating-point."""
    number = NUM_BYTES[precision]
    # a log-probability and a class of two bytes each, and four for the tail
    of_member = num_classes * number if top_k is None else top_k * 4 + 4
    of_taps = sum(math.prod(asked.tap.row_shape(shapes[asked.member])) for asked in taps)
    return num_members * of_member + of_taps * number


def check_size(num_rows: int, row_bytes: int) -> None:
    """See that an answer is not too much for a node.

    Raises:
        TooLarge: it would be more than `MAX_ANSWER_BYTES`.
    """
    if num_rows * row_bytes > MAX_ANSWER_BYTES:
        raise TooLarge(
            f"the answer to {num_rows} rows would take {num_rows * row_bytes} bytes, and a teacher gives {MAX_ANSWER_BYTES}: "
            f"ask for at most {MAX_ANSWER_BYTES // row_bytes} rows at once, or for fewer taps",
            field="num_rows",
        )
