"""No answer reaches a student unchecked."""

from typing import Any

import numpy as np
import pytest
import torch

from distill.contracts.errors import InvalidAnswer
from distill.contracts.taps import MemberTap, WholeTap
from distill.contracts.wire import AnswerHeader, AskHeader
from teacher_server.digests import row_digests, short_digests
from teacher_server.replies import read_reply

ROWS = np.arange(5 * 64, dtype=np.uint8).reshape(5, 1, 8, 8)


@pytest.fixture
def tap(solo) -> str:
    return next(iter(solo.manifest.members[0].taps))


@pytest.fixture
def ask(tap) -> AskHeader:
    taps = (MemberTap(member=0, tap=WholeTap(name=tap)),)
    return AskHeader(request_id="mine", num_rows=5, precision="fp16", taps=taps)


@pytest.fixture
def reply(solo, tap):
    """A right reply, with some of its parts replaced."""

    def make(tensors: dict[str, Any] | None = None, **header: Any) -> Any:
        right = {"request_id": "mine", "teacher": "solo@1", "digest": solo.digest, "num_rows": 5, "members": (0,)}
        tapped = np.ones((5, *solo.manifest.members[0].taps[tap]), np.float16)
        digests = short_digests(row_digests(ROWS))
        right_tensors = {"logits": np.ones((5, 1, 4), np.float16), f"tap.0.{tap}": tapped, "digests": digests}
        whole = AnswerHeader.model_validate(right | {"seconds": 1.0, "compute_seconds": 1.0} | header)
        return whole.model_dump(mode="json"), right_tensors | (tensors or {})

    return make


def test_a_right_reply_is_taken_as_tensors_of_ones_own(solo, ask, reply):
    sent = reply()
    header, tensors = read_reply(sent, ask, ROWS, solo)
    tensors["logits"].zero_()
    assert header.teacher == "solo@1"
    assert sent[1]["logits"].min() == 1


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"digest": "sha256:0"}, "wrong digest"),
        ({"request_id": "another's"}, "wrong request id"),
        ({"num_rows": 4}, "wrong number of rows"),
        ({"members": (1,)}, "wrong members"),
    ],
)
def test_a_reply_to_something_else_is_refused(solo, ask, reply, header, said):
    with pytest.raises(InvalidAnswer, match=f"solo@1 answered with the {said}"):
        read_reply(reply(**header), ask, ROWS, solo)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"logits": np.ones((5, 1, 3), np.float16)}, r"expected \(5, 1, 4\), got \(5, 1, 3\)"),
        ({"logits": np.ones((5, 1, 4), np.float32)}, "expected float16, got float32"),
        ({"logits": np.full((5, 1, 4), np.nan, np.float16)}, "NaN or infinity"),
        ({"more": np.ones(1)}, "wrong tensors"),
        ({"digests": short_digests(row_digests(ROWS[::-1]))}, "wrong digests of rows"),
    ],
)
def test_a_reply_with_wrong_tensors_is_refused(solo, ask, reply, tensors, said):
    with pytest.raises(InvalidAnswer, match=said):
        read_reply(reply(tensors), ask, ROWS, solo)


@pytest.mark.parametrize("nonsense", [None, 3, ({}, {}), ("a", "b", "c"), [None, None]])
def test_a_reply_that_is_none_is_refused(solo, ask, nonsense):
    with pytest.raises(InvalidAnswer, match="no header and tensors"):
        read_reply(nonsense, ask, ROWS, solo)


def test_the_greatest_classes_alone_come_with_the_mass_of_the_others(solo, reply):
    ask = AskHeader(request_id="mine", num_rows=5, top_k=2)
    header, tensors = reply()
    top = {
        "top.log_probs": np.full((5, 1, 2), -1, np.float16),
        "top.classes": np.full((5, 1, 2), 3, np.uint16),
        "top.tail": np.full((5, 1), 0.25, np.float32),
    }
    _, read = read_reply((header, top | {"digests": tensors["digests"]}), ask, ROWS, solo)
    assert read["top.classes"].dtype == torch.int32
    assert read["top.tail"].sum() == 1.25
    with pytest.raises(InvalidAnswer, match="wrong tensors"):
        read_reply((header, tensors), ask, ROWS, solo)
