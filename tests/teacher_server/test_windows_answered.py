"""A window's whole way through a replica without a book: each is answered alone, under its own name."""

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from distill.contracts.errors import InvalidSpec
from teacher_server.answering import Answering
from teacher_server.batching import Batcher
from teacher_server.memory import NoMemory
from tests.teacher_server.slow_ensemble import SlowEnsemble

DIGEST = "sha256:" + "0" * 64


class Uncounted:
    """A meter that nobody reads."""

    def answered(self, team: str, **_: Any) -> None:
        pass

    def refused(self, team: str) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[Answering]:
    ensemble = SlowEnsemble()
    ensemble.go.set()
    batcher = Batcher(ensemble, teacher="slow@1", threads=1)
    yield Answering(ensemble, batcher, NoMemory(), Uncounted(), teacher="slow@1", digest=DIGEST, compute="fp32")
    batcher.close()


def a_window(*pixels: int, size: int = 8) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    rows = np.zeros((len(pixels), 1, size, size), np.uint8)
    rows[:, 0, 0, 0] = pixels
    return {"request_id": f"r{pixels[0]}", "num_rows": len(pixels)}, {"inputs": rows}


async def test_each_window_gets_its_own_rows_under_its_own_name(answering):
    answers = await asyncio.gather(*(answering.answer(*a_window(pixel, pixel + 10)) for pixel in (3, 1, 2)))
    assert [header["request_id"] for header, _ in answers] == ["r3", "r1", "r2"]
    assert [tensors["logits"].ravel().tolist() for _, tensors in answers] == [[3, 13], [1, 11], [2, 12]]


async def test_a_window_that_is_none_fails_alone(answering):
    good, failed = await asyncio.gather(
        answering.answer(*a_window(1, 2, 3)), answering.answer(*a_window(4, size=9)), return_exceptions=True
    )
    assert good[0]["num_rows"] == 3
    assert isinstance(failed, InvalidSpec)


async def test_an_answer_says_how_long_it_took_and_how_much_of_that_was_computing(answering):
    header, _ = await answering.answer(*a_window(1))
    assert header["seconds"] >= header["compute_seconds"] > 0
