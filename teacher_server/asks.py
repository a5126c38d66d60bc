"""One window to one teacher: what the answer book knows of it, and the teacher's own word on the rest.

Shapes: N rows of the window.
"""

import uuid
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from distill.contracts.teachers import ResolvedTeacher
from distill.contracts.wire import AskHeader, BookKey
from teacher_server.book.line import BookLine, PendingRecall
from teacher_server.calls import Call, Line
from teacher_server.digests import row_digests
from teacher_server.memory import Consulted
from teacher_server.patience import patience_s
from teacher_server.replies import read_reply, read_tensors
from teacher_server.window import INPUTS, Array

ASK_AGAIN_AFTER = 16
"""Windows that go straight to the teacher after one of which the book knew little."""


class Recollection:
    """The book as one student asks it about one teacher: first of all where it knew much, else now and then.

    A replica consults the book anyway; to ask it before saves the way of the inputs, and works without any replica.
    """

    def __init__(self, book: BookLine) -> None:
        self._book = book
        self._skip = 0

    def recall(self, key: BookKey, digests: Array) -> PendingRecall:
        """Ask for rows with these digests (N, 16); never waits."""
        return self._book.recall(key, digests)

    def is_worth_asking(self) -> bool:
        """Whether the next window should be looked up; called once a window."""
        self._skip = max(0, self._skip - 1)
        return self._skip == 0

    def found(self, consulted: Consulted | None) -> None:
        """What came of a look: where less than half was known, the teacher is asked at once for a while."""
        if consulted is None or 2 * int(consulted.known_N.sum()) < len(consulted.known_N):
            self._skip = ASK_AGAIN_AFTER


class Ask:
    """A window on its way; `poll` moves it on."""

    def __init__(self, line: Line, recollection: Recollection | None, header: AskHeader, inputs: Array) -> None:
        """Send it, to the book if that is likely to know it, else to the teacher; never waits.

        Raises:
            DependencyDown: this process is not connected to Ray.
        """
        self.header = header
        self.members: tuple[int, ...] = header.members or tuple(range(len(line.teacher.manifest.members)))
        self.tensors: dict[str, Tensor] = {}
        """(N, ...) of each, once it is done."""
        self.recalled_rows = 0
        """Of these, rows that were not computed for this window."""
        self._line = line
        self._inputs = inputs
        self._unknown_N = np.ones(header.num_rows, bool)
        self._recalled: Mapping[str, Array] = {}
        self._recall: PendingRecall | None = None
        self._call: Call | None = None
        self._is_done = False
        self._recollection = recollection if header.remember else None
        if self._recollection is not None and self._recollection.is_worth_asking():
            self._recall = self._recollection.recall(book_key(header, line.teacher), row_digests(inputs))
        else:
            self._call = self._to_teacher()

    @property
    def teacher(self) -> ResolvedTeacher:
        """Who is asked."""
        return self._line.teacher

    @property
    def is_recalling(self) -> bool:
        """Whether the book was asked, and what it says is not taken yet."""
        return self._recall is not None

    @property
    def is_done(self) -> bool:
        """Whether `tensors` is there."""
        return self._is_done

    @property
    def trouble(self) -> str:
        """Why it isn't done yet, in words."""
        return "the answer book has not answered yet" if self._call is None else self._call.trouble

    def poll(self, timeout_s: float) -> None:
        """Wait for what is to come next, at most ``timeout_s``, and see to what follows from it.

        Raises:
            TeacherUnavailable: the teacher has been silent for too long, or failed again and again.
            InvalidAnswer: the answer is not what was asked for.
            StillhouseError: the replica's own word, where asking again can't help.
        """
        if self._is_done:
            return
        self.look_up(timeout_s)
        if self._call is not None:
            self._call.poll(timeout_s)
            if self._call.is_done:
                self._take(self._call)

    def look_up(self, timeout_s: float) -> None:
        """Wait for the book alone, if it was asked, at most ``timeout_s``; what it doesn't know goes to the teacher."""
        if self._recall is None:
            return
        self._recall.poll(timeout_s)
        if self._recall.is_done:
            self._take_recalled(self._recall.found)

    def cancel(self) -> None:
        """Take the request back, if it is not answered."""
        recall, self._recall = self._recall, None
        if recall is not None:
            recall.cancel()
        if self._call is not None:
            self._call.cancel()

    def _take_recalled(self, consulted: Consulted | None) -> None:
        assert self._recollection is not None  # noqa: S101 - who recalls has one
        self._recall = None
        self._recollection.found(consulted)
        if consulted is not None and consulted.known_N.any():
            self._unknown_N = ~consulted.known_N
            self._recalled = consulted.answers
            self.recalled_rows = int(consulted.known_N.sum())
        if self._unknown_N.any():
            self._call = self._to_teacher()
        else:
            self._finish(read_tensors(self._recalled))

    def _to_teacher(self) -> Call:
        is_whole = bool(self._unknown_N.all())
        inputs = self._inputs if is_whole else self._inputs[self._unknown_N]
        update = {"request_id": uuid.uuid4().hex, "num_rows": len(inputs)}
        self._asked = (self.header.model_copy(update=update), inputs)
        header = self._asked[0]
        arguments = (header.model_dump(mode="json"), {INPUTS: inputs})
        patience = patience_s(len(inputs), deadline_s=header.deadline_s, teacher=self.teacher)
        return Call(self._line, "answer", arguments, patience_s=patience)

    def _take(self, call: Call) -> None:
        header, answered = read_reply(call.reply, *self._asked, self.teacher)
        self.recalled_rows += header.recalled_rows
        if self._recalled:
            recalled = read_tensors(self._recalled)
            answered = {key: self._mixed(recalled[key], tensor) for key, tensor in answered.items()}
        self._finish(answered)

    def _mixed(self, recalled: Tensor, answered: Tensor) -> Tensor:
        whole = answered.new_empty((self.header.num_rows, *answered.shape[1:]))
        unknown_N = torch.from_numpy(self._unknown_N)
        whole[~unknown_N], whole[unknown_N] = recalled, answered
        return whole

    def _finish(self, tensors: dict[str, Tensor]) -> None:
        self.tensors, self._is_done = tensors, True
        # they hold the inputs, and in the reply Ray's memory
        self._call = None


def book_key(header: AskHeader, teacher: ResolvedTeacher) -> BookKey:
    """The book that the teacher's answers to ``header`` stand in."""
    manifest = teacher.manifest
    return BookKey.of(header, teacher=teacher.digest, compute=manifest.compute, num_members=len(manifest.members))
