"""What a request must be."""

import numpy as np
import pytest

from distill.contracts.errors import InvalidSpec, TooLarge
from distill.contracts.models import TokensInput, VectorInput
from distill.contracts.wire import AskHeader
from teacher_server.window import read_header, read_inputs
from tests.teacher_server.small_teachers import IMAGE

IMAGES = np.zeros((2, 1, 8, 8), np.uint8)
TOKENS = TokensInput(length=3, vocabulary=10)
VECTORS = VectorInput(features=2, mean=(0.0, 0.0), std=(1.0, 1.0))


def an_ask(num_rows: int = 2) -> AskHeader:
    return AskHeader(request_id="r", num_rows=num_rows)


def test_rows_as_the_teacher_takes_them_pass():
    assert read_inputs(an_ask(), {"inputs": IMAGES}, IMAGE) is IMAGES


@pytest.mark.parametrize(
    ("taken", "tensors", "said"),
    [
        (IMAGE, {}, "'inputs' alone, got none"),
        (IMAGE, {"inputs": IMAGES, "labels": IMAGES}, "got inputs, labels"),
        (IMAGE, {"inputs": IMAGES.astype(np.float32)}, "array of uint8, got float32"),
        (IMAGE, {"inputs": IMAGES.tolist()}, "array of uint8, got <class 'list'>"),
        (IMAGE, {"inputs": IMAGES[:1]}, r"\(2, 1, 8, 8\), got \(1, 1, 8, 8\)"),
        (IMAGE, {"inputs": IMAGES[:, :, :4]}, r"got \(2, 1, 4, 8\)"),
        (VECTORS, {"inputs": np.array([[0, 1], [0, np.nan]], np.float32)}, "infinity in row 1"),
        (TOKENS, {"inputs": np.array([[0, 1, 2], [0, 1, 10]])}, "0 to 9, got 0 to 10"),
        (TOKENS, {"inputs": np.array([[0, 1, 2], [0, 1, -1]])}, "0 to 9, got -1 to 2"),
    ],
)
def test_other_rows_are_refused_with_what_was_expected_and_what_came(taken, tensors, said):
    with pytest.raises(InvalidSpec, match=said):
        read_inputs(an_ask(), tensors, taken)


def test_a_window_of_too_many_bytes_is_refused():
    vectors = VectorInput(features=2**20, mean=(0.0,), std=(1.0,))
    with pytest.raises(TooLarge, match="fewer rows"):
        read_inputs(an_ask(17), {"inputs": np.zeros((17, 2**20), np.float32)}, vectors)


def test_a_wrong_header_is_refused_with_its_field():
    with pytest.raises(InvalidSpec, match="num_rows") as refused:
        read_header({"request_id": "r", "num_rows": 0})
    assert refused.value.details["field"] == "num_rows"
