"""The answer book as a replica meets it, and that nobody waits for one that is away."""

import asyncio
import logging
import time
from types import SimpleNamespace

import numpy as np
import pytest
from ray.exceptions import RayActorError, RayTaskError

from distill.contracts.errors import InvalidAnswer
from teacher_server.book import far
from teacher_server.book.far import FarMemory
from teacher_server.memory import Consulted
from tests.teacher_server.book.rows import KEY, answers_to, digests_of


class Response:
    """A reply on its way, as Serve's: awaited, or cancelled."""

    def __init__(self, work):
        self._task = asyncio.ensure_future(work)
        self.is_cancelled = False

    def __await__(self):
        return self._task.__await__()

    def cancel(self):
        self.is_cancelled = True
        self._task.cancel()


class Handle:
    """A book's deployment that hears everything, and replies as it is told."""

    def __init__(self):
        self.heard = []
        self.responses = []
        self.reply = None

    def __getattr__(self, method):
        return SimpleNamespace(remote=lambda *arguments: self._call(method, arguments))

    def _call(self, method, arguments):
        self.heard.append((method, *arguments))
        self.responses.append(Response(self._answer()))
        return self.responses[-1]

    async def _answer(self):
        if isinstance(self.reply, Exception):
            raise self.reply
        if self.reply == "never":
            await asyncio.Event().wait()
        return self.reply


class TaskError(RayTaskError):
    """What Ray makes of an error in the book."""

    def __init__(self, cause):
        Exception.__init__(self, str(cause))
        self.cause = cause

    def __str__(self):
        return str(self.cause)


@pytest.fixture
def handle():
    return Handle()


@pytest.fixture
async def memory(handle, monkeypatch):
    monkeypatch.setattr(far, "PATIENCE_S", 0.05)
    monkeypatch.setattr(far, "ALIVE_S", 0.05)
    memory = FarMemory("replica-1", handle)
    yield memory
    await memory.close()


def consulted(known, mine):
    return Consulted(np.array(known), np.array(mine), answers_to([1]) if any(known) else {}, "edition")


async def consult(memory, numbers=(1, 2)):
    return await memory.consult(KEY, digests_of(numbers), claimant="window")


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


def is_all_the_askers(said):
    return said.mine_N.all() and not said.known_N.any() and not said.answers


async def test_what_the_book_says_is_what_the_replica_gets(memory, handle):
    handle.reply = consulted([True, False], [False, True])
    assert await consult(memory) is handle.reply
    ((method, key, digests, claimant),) = handle.heard
    assert (method, claimant) == ("consult", "replica-1/window")
    assert type(KEY).model_validate_json(key) == KEY
    assert (digests == digests_of([1, 2])).all()


async def test_a_book_that_does_not_answer_costs_one_window_its_patience_and_the_next_ones_nothing(
    memory, handle, caplog
):
    handle.reply = "never"
    assert is_all_the_askers(await consult(memory))
    assert handle.responses[0].is_cancelled
    started = time.monotonic()
    for _ in range(100):
        assert is_all_the_askers(await consult(memory))
    assert time.monotonic() - started < 0.05
    assert caplog.text.count("the answer book is away") == 1


@pytest.mark.parametrize("error", [RayActorError(), TaskError(ValueError("a bug"))])
async def test_a_book_that_breaks_leaves_everything_to_the_asker(memory, handle, error):
    handle.reply = error
    assert is_all_the_askers(await consult(memory))
    assert is_all_the_askers(await memory.wait(KEY, digests_of([1]), claimant="window", timeout_s=1))


async def test_a_book_that_is_back_is_asked_again(memory, handle, caplog):
    handle.reply = RayActorError()
    await consult(memory)
    handle.reply = consulted([True, True], [False, False])
    await until(lambda: "the answer book is back" in caplog.text)
    assert await consult(memory) is handle.reply


async def test_who_holds_claims_says_that_it_is_alive_until_it_handed_in(memory, handle):
    handle.reply = consulted([False, False], [True, True])
    await consult(memory)
    handle.heard.clear()
    await until(lambda: handle.heard)
    assert handle.heard[0] == ("alive", ["replica-1/window"])
    memory.hand_in(KEY, digests_of([1]), answers_to([1]), claimant="window")
    assert memory.held == {"window": 1}
    memory.release(KEY, digests_of([2]), claimant="window")
    assert memory.held == {}


async def test_what_is_handed_in_is_sent_in_order_without_waiting(memory, handle):
    for number in (1, 2, 3):
        memory.hand_in(KEY, digests_of([number]), answers_to([number]), claimant="window")
    memory.release(KEY, digests_of([4]), claimant="window")
    assert handle.heard == []
    await until(lambda: len(handle.heard) == 4)
    assert [message[0] for message in handle.heard] == ["hand_in"] * 3 + ["release"]
    assert [int(message[3]["logits"][0, 0, 0]) for message in handle.heard[:3]] == [1, 2, 3]


async def test_answers_that_the_book_does_not_take_are_told_and_the_book_stays_in_use(memory, handle, caplog):
    handle.reply = TaskError(InvalidAnswer("answers of other types"))
    with caplog.at_level(logging.ERROR):
        memory.hand_in(KEY, digests_of([1]), answers_to([1]), claimant="window")
        await until(lambda: "answers of other types" in caplog.text)
    handle.reply = consulted([True, True], [False, False])
    assert await consult(memory) is handle.reply


async def test_no_more_is_kept_for_a_slow_book_than_it_may_be(memory, handle, caplog):
    handle.reply = "never"
    for number in range(far.MAX_POSTS + 3):
        memory.hand_in(KEY, digests_of([number]), answers_to([number]), claimant="window")
    assert caplog.text.count("is dropped") == 3
