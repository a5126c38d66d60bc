"""Rows of an answer book for tests: numbered, with answers that follow from their numbers."""

from collections.abc import Iterable

import numpy as np

from distill.contracts.wire import BookKey
from teacher_server.book.pages import Rows
from teacher_server.digests import row_digests
from teacher_server.window import Array

KEY = BookKey(teacher="sha256:" + "a" * 64, compute="fp32", members=(0, 1, 2), precision="fp16")
OTHER = KEY.model_copy(update={"precision": "fp32"})
THIRD = KEY.model_copy(update={"members": (0,)})


class Clock:
    """Says what it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def digests_of(numbers: Iterable[int]) -> Array:
    """(N, 16)."""
    return row_digests(np.array(list(numbers), np.int64)[:, None])


def answers_to(numbers: Iterable[int]) -> dict[str, Array]:
    """Logits (N, 3, 10): every one of row n is n."""
    numbers_N = np.array(list(numbers), np.float16)
    return {"logits": np.tile(numbers_N[:, None, None], (1, 3, 10))}


def rows_of(numbers: Iterable[int]) -> Rows:
    """Digests and answers."""
    numbers = list(numbers)
    return Rows(digests_of(numbers), answers_to(numbers))


def numbers_in(answers: dict[str, Array]) -> list[int]:
    """The rows that answers (K, ...) are to, if each is whole."""
    logits = answers["logits"]
    assert (logits == logits[:, :1, :1]).all()
    return logits[:, 0, 0].astype(int).tolist()
