"""A window between the answer book and its teacher: the book and Serve are played from lists."""

from typing import Any

import numpy as np
import pytest

from distill.contracts.wire import AnswerHeader, AskHeader
from teacher_server.asks import ASK_AGAIN_AFTER, Ask, Recollection
from teacher_server.calls import Line
from teacher_server.digests import row_digests, short_digests
from teacher_server.memory import Consulted

ROWS = np.arange(6 * 64, dtype=np.uint8).reshape(6, 1, 8, 8)
HEADER = AskHeader(request_id="whole", num_rows=6, precision="fp32")


def logits_of(inputs: np.ndarray) -> np.ndarray:
    """What the teacher says of these rows, (N, 1, 4)."""
    return inputs.reshape(len(inputs), 1, 64)[..., :4].astype(np.float32)


class PlayedBook:
    """Knows the rows that it is told to; None: it is away."""

    def __init__(self, *known: list[bool] | None) -> None:
        self.known = list(known)
        self.asked: list[np.ndarray] = []

    def recall(self, key: Any, digests: np.ndarray) -> "PlayedRecall":
        self.asked.append(digests)
        return PlayedRecall(self)

    def says(self) -> Consulted | None:
        known = self.known.pop(0) if len(self.known) > 1 else self.known[0]
        if known is None:
            return None
        known_N = np.array(known)
        return Consulted(known_N, np.zeros(6, bool), {"logits": logits_of(ROWS[known_N])})


class PlayedRecall:
    """Answered at the second look."""

    def __init__(self, book: PlayedBook) -> None:
        self.is_done = False
        self.found: Consulted | None = None
        self.num_looks = 0
        self._book = book

    def poll(self, timeout_s: float) -> None:
        self.num_looks += 1
        if self.num_looks == 2:
            self.is_done, self.found = True, self._book.says()

    def cancel(self) -> None:
        self.is_done = True


class TeachingLine(Line):
    """A replica answers at once."""

    def __init__(self, teacher: Any) -> None:
        super().__init__(teacher, on_wait=None, on_return=None, give_up_s=60)
        self.asked: list[int] = []

    def handle(self) -> Any:
        return self

    @property
    def answer(self) -> Any:
        return self

    def remote(self, header: dict[str, Any], tensors: dict[str, np.ndarray]) -> Any:
        self.asked.append(header["num_rows"])
        reply = AnswerHeader(
            request_id=header["request_id"],
            teacher="solo@1",
            digest=self.teacher.digest,
            num_rows=header["num_rows"],
            members=(0,),
            recalled_rows=1,
            seconds=0.0,
            compute_seconds=0.0,
        )
        inputs = tensors["inputs"]
        answered = {"logits": logits_of(inputs), "digests": short_digests(row_digests(inputs))}
        return PlayedReply((reply.model_dump(mode="json"), answered))


class PlayedReply:
    def __init__(self, reply: Any) -> None:
        self.reply = reply

    def cancel(self) -> None:
        pass


@pytest.fixture
def line(solo: Any, monkeypatch: pytest.MonkeyPatch) -> TeachingLine:
    monkeypatch.setattr("teacher_server.calls.fetch", lambda response, timeout_s: response.reply)
    return TeachingLine(solo)


def answered(ask: Ask) -> Ask:
    for _ in range(4):
        ask.poll(0.1)
    assert ask.is_done
    return ask


def test_what_the_book_knows_is_never_sent_to_the_teacher(line: TeachingLine):
    book = PlayedBook([True] * 6)
    ask = answered(Ask(line, Recollection(book), HEADER, ROWS))
    np.testing.assert_array_equal(ask.tensors["logits"].numpy(), logits_of(ROWS))
    assert (line.asked, ask.recalled_rows) == ([], 6)
    np.testing.assert_array_equal(book.asked[0], row_digests(ROWS))


def test_only_what_the_book_does_not_know_is_asked_and_each_row_gets_its_own_answer(line: TeachingLine):
    book = PlayedBook([True, False, True, True, False, True])
    ask = answered(Ask(line, Recollection(book), HEADER, ROWS))
    np.testing.assert_array_equal(ask.tensors["logits"].numpy(), logits_of(ROWS))
    # the replica says that it had computed one of them for somebody else
    assert (line.asked, ask.recalled_rows) == ([2], 5)


@pytest.mark.parametrize("known", [None, [False] * 6], ids=["away", "knows nothing"])
def test_a_book_that_is_no_use_is_left_alone_for_a_while(line: TeachingLine, known: list[bool] | None):
    book = PlayedBook(known, [True] * 6)
    recollection = Recollection(book)
    for _ in range(ASK_AGAIN_AFTER + 1):
        ask = answered(Ask(line, recollection, HEADER, ROWS))
        np.testing.assert_array_equal(ask.tensors["logits"].numpy(), logits_of(ROWS))
    assert (len(book.asked), line.asked) == (2, [6] * ASK_AGAIN_AFTER)


def test_what_the_book_does_not_know_goes_on_to_the_teacher_before_anybody_waits_for_it(line: TeachingLine):
    ask = Ask(line, Recollection(PlayedBook([False] * 6)), HEADER, ROWS)
    ask.look_up(0)
    assert (ask.is_recalling, line.asked) == (True, [])
    ask.look_up(0)
    assert (ask.is_recalling, line.asked, ask.is_done) == (False, [6], False)


def test_what_nobody_wants_any_more_goes_on_to_no_teacher(line: TeachingLine):
    ask = Ask(line, Recollection(PlayedBook([False] * 6)), HEADER, ROWS)
    ask.cancel()
    for _ in range(3):
        ask.look_up(0)
    assert (ask.is_recalling, line.asked) == (False, [])


def test_nobody_looks_up_what_must_not_be_remembered(line: TeachingLine):
    book = PlayedBook([True] * 6)
    answered(Ask(line, Recollection(book), HEADER.model_copy(update={"remember": False}), ROWS))
    assert (book.asked, line.asked) == ([], [6])
