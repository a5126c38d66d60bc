"""One request, asked again until it is answered, without a cluster: Serve's replies are played from a list."""

import time
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from distill.contracts.errors import InvalidSpec, TeacherBusy, TeacherUnavailable
from distill.contracts.job import AnswersSpec
from distill.contracts.wire import AnswerHeader
from teacher_server import calls
from teacher_server.calls import Call, Line
from teacher_server.client import TeacherPool
from teacher_server.digests import row_digests, short_digests

LIVE = AnswersSpec(precision="fp32", remember=False)


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("a lock can't be pickled")


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")


class PlayedResponse:
    """Serve's response: an error, or a reply that is here after some looks."""

    def __init__(self, comes: Any, after_looks: int = 0) -> None:
        self.comes = comes
        self.looks_left = after_looks
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class PlayedLine(Line):
    """A line whose handle gives the next response of a list, and the last one ever after."""

    def __init__(self, teacher: Any, *responses: PlayedResponse, give_up_s: float = 60.0) -> None:
        super().__init__(teacher, on_wait=None, on_return=None, give_up_s=give_up_s)
        self.responses = list(responses)
        self.num_sent = 0

    def handle(self) -> Any:
        return self

    @property
    def answer(self) -> Any:
        return self

    def remote(self, *_: Any) -> PlayedResponse:
        self.num_sent += 1
        return self.responses[min(self.num_sent, len(self.responses)) - 1]


def played(response: PlayedResponse, timeout_s: float) -> Any:
    if response.looks_left:
        response.looks_left -= 1
        time.sleep(0.01)
        raise GetTimeoutError
    if isinstance(response.comes, Exception):
        raise response.comes
    return response.comes


@pytest.fixture(autouse=True)
def _played_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "fetch", played)
    monkeypatch.setattr(calls, "FIRST_PAUSE_S", 0.001)


def in_replica(error: Exception) -> PlayedResponse:
    """What Ray makes of an error in a replica."""
    raised = RayTaskError("answer", "the traceback", error)
    return PlayedResponse(RayError.from_bytes(raised.to_bytes()))


def until_done(call: Call) -> Any:
    while not call.is_done:
        call.poll(0.01)
    return call.reply


def test_a_busy_replica_is_asked_again(solo):
    line = PlayedLine(solo, in_replica(TeacherBusy("full")), PlayedResponse("the reply"))
    assert until_done(Call(line, "answer", (), patience_s=1)) == "the reply"
    assert line.num_sent == 2


def test_what_asking_again_cannot_help_is_raised_with_its_details(solo):
    line = PlayedLine(solo, in_replica(InvalidSpec("too wide", field="inputs")))
    with pytest.raises(InvalidSpec, match="too wide") as raised:
        until_done(Call(line, "answer", (), patience_s=1))
    assert raised.value.details == {"field": "inputs"}


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("oh"), Unpicklable("oh"), KeywordOnly(code=3)], ids=["plain", "unpicklable", "keyword"]
)
def test_an_error_in_the_replica_is_given_up_after_three_tries_whether_or_not_it_pickles(solo, error):
    line = PlayedLine(solo, in_replica(error), give_up_s=0.5)
    with pytest.raises(TeacherUnavailable, match="failed 3 times at the same request"):
        until_done(Call(line, "answer", (), patience_s=1))
    assert line.num_sent == 3


def test_silence_while_nobody_waits_is_not_held_against_the_teacher(solo):
    line = PlayedLine(solo, in_replica(TeacherBusy("full")), PlayedResponse("the reply"), give_up_s=0.05)
    call = Call(line, "answer", (), patience_s=1)
    time.sleep(0.1)
    assert until_done(call) == "the reply"


def test_a_reply_that_a_replica_lost_is_asked_for_again(solo):
    lost = PlayedResponse("never", after_looks=1000)
    line = PlayedLine(solo, lost, PlayedResponse("the reply"))
    assert until_done(Call(line, "answer", (), patience_s=0.05)) == "the reply"
    assert lost.is_cancelled


def test_a_slow_teacher_has_as_long_as_its_manifest_says(solo, rows, monkeypatch):
    slow = solo.model_copy(update={"manifest": solo.manifest.model_copy(update={"rows_per_s": 100.0})})
    monkeypatch.setattr("teacher_server.patience.GRACE_S", 0.0)
    line = PlayedLine(
        slow, PlayedResponse(InvalidSpec("computed"), after_looks=10), PlayedResponse(InvalidSpec("again"))
    )
    monkeypatch.setattr("teacher_server.client.Line", lambda *_, **__: line)
    pool = TeacherPool([slow], team="vision", job="fashion", answers=LIVE, deadline_s=0.01)
    with pytest.raises(InvalidSpec, match="computed"):
        pool.ask(rows(10)).result()


def test_an_answer_once_read_holds_nothing_of_ray(solo, monkeypatch):
    logits, inputs = np.zeros((2, 1, 4), np.float32), np.zeros((2, 1, 8, 8), np.uint8)
    is_held: Callable[[], Any] = weakref.ref(logits)
    header = AnswerHeader(
        request_id="mine",
        teacher="solo@1",
        digest=solo.digest,
        num_rows=2,
        members=(0,),
        seconds=1.0,
        compute_seconds=1.0,
    )
    digests = short_digests(row_digests(inputs))
    line = PlayedLine(solo, PlayedResponse((header.model_dump(), {"logits": logits, "digests": digests})))
    monkeypatch.setattr("teacher_server.client.Line", lambda *_, **__: line)
    monkeypatch.setattr("teacher_server.asks.uuid.uuid4", lambda: SimpleNamespace(hex="mine"))
    pending = TeacherPool([solo], team="vision", job="fashion", answers=LIVE).ask(torch.from_numpy(inputs))
    pending.result()
    line.responses.clear()
    del logits
    assert is_held() is None
    assert pending.result().logits_NMC.shape == (2, 1, 4)
