"""The teacher pool for any process, over HTTP: numpy, safetensors and our contracts; neither torch nor Ray.

    with RemotePool("fashion@prod", rows_per_s=5000) as pool:
        for (images, labels), answer in pool.answered(batches):    # asked ahead, in big windows
            ...                                                    # answer.logits (N, M, C), numpy

        pending = pool.ask(images)      # or by hand: sent in the background; go on with other work
        answer = pending.result()

Rows may be numpy arrays or torch tensors. Answers are numpy arrays, which ``torch.from_numpy`` takes without a copy.

Shapes: N rows, M members as asked, C classes.
"""

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Self

from distill.contracts.errors import DependencyDown, InvalidAnswer, NotFound, TeacherUnavailable
from distill.contracts.taps import MemberTap
from distill.contracts.teachers import ResolvedTeacher
from distill.contracts.wire import AnswerHeader, AnswerPrecision
from teacher_server.ahead import Batch, Rows, as_array, ask_ahead
from teacher_server.patience import patience_s
from teacher_server.remote_answer import RemoteAnswer, TopClasses, join
from teacher_server.remote_line import RemoteLine
from teacher_server.reservation import HeldReservation
from teacher_server.window import Array, read_header

__all__ = ["PendingAnswer", "RemoteAnswer", "RemotePool", "TopClasses"]

WINDOW_ROWS = 1024
WINDOW_BYTES = 16 * 2**20
"""Of one request; what is asked beyond is split."""
DOOR_S = 5.0
"""What the door itself may take, beyond its patience with a replica."""
LOOK_S = 0.2


class RemotePool:
    """One teacher, reserved for as long as the pool is open, and asked over HTTP."""

    def __init__(
        self,
        teacher: str,
        *,
        rows_per_s: float,
        url: str | None = None,
        key: str | None = None,
        members: Sequence[int] | None = None,
        precision: AnswerPrecision = "fp16",
        top_k: int | None = None,
        taps: Sequence[MemberTap] = (),
        remember: bool = True,
        deadline_s: float = 60.0,
        in_flight: int = 2,
        give_up_s: float = 3600.0,
    ) -> None:
        """Reserve the teacher; ask nothing yet.

        Args:
            teacher: ``name@version`` or ``name@alias``.
            rows_per_s: how many rows the loop can take a second: replicas follow from it.
            url: of the control plane; left out, ``STILLHOUSE_URL``, else this machine's stack.
            key: an API key with the scope ``submit``; left out, ``STILLHOUSE_KEY``, else the file that
                ``STILLHOUSE_KEY_FILE`` names, else this machine's stack's own.
            members: positions of the members asked; left out: all.
            precision: of logits and taps.
            top_k: only so many classes, with the mass of the others; left out: logits of all.
            taps: what is wanted of members' inner modules too.
            remember: whether the answer book may answer, and keep what is computed.
            deadline_s: how long a window may stand in a replica's queue before it is refused, and asked again.
            in_flight: how many windows are asked at a time.
            give_up_s: how long a window is asked again before `TeacherUnavailable` is raised.

        Raises:
            DependencyDown: the control plane doesn't answer.
            NotAuthenticated: there is no key, or it doesn't hold.
            Forbidden: it may not submit.
            UnknownTeacher: there is no such teacher, or it isn't READY.
            InvalidSpec: something else of it can't be.
        """
        self._asked = read_header(
            {
                "request_id": "template",
                "num_rows": 1,
                "members": members,
                "precision": precision,
                "top_k": top_k,
                "taps": tuple(taps),
                "remember": remember,
                "deadline_s": deadline_s,
            }
        )
        self._give_up_s = give_up_s
        self._stop, self._told = threading.Event(), threading.Event()
        self._waiting: queue.SimpleQueue[Window | None] = queue.SimpleQueue()
        self.reservation = HeldReservation(teacher, rows_per_s=rows_per_s, url=url, key=key)
        self._lines = [self._line() for _ in range(in_flight)]
        self._threads = [threading.Thread(target=self._work, args=(line,), daemon=True) for line in self._lines]
        for thread in self._threads:
            thread.start()

    @property
    def teacher(self) -> ResolvedTeacher:
        """Who answers: its version, and the manifest with classes, members and input."""
        return self.reservation.teacher

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until a replica answers; asking waits too, so this is for those who want to know.

        Raises:
            TeacherUnavailable: not after ``timeout_s``.
            InvalidAnswer: the door's reservation is of another version.
        """
        line, until = self._line(), time.monotonic() + timeout_s
        try:
            while trouble := self._trouble(line):
                if time.monotonic() > until:
                    raise TeacherUnavailable(f"{self.teacher.reference} is not ready: {trouble}")
                self._stop.wait(LOOK_S)
        finally:
            line.close()

    def ask(self, inputs: Rows) -> "PendingAnswer":
        """Send rows in the background, in windows of up to 1,024 rows or 16 MB; returns without waiting.

        Args:
            inputs: (N, ...), N > 0, raw as the student sees them: after augmentation, before normalisation. Not to be
                changed before the answer is there.

        Raises:
            ValueError: no rows, or the pool is closed.
        """
        array = as_array(inputs)
        if array.ndim == 0 or not len(array) or self._stop.is_set():
            raise ValueError("there are no rows to ask, or the pool is closed")
        rows = max(1, min(WINDOW_ROWS, WINDOW_BYTES * len(array) // max(1, array.nbytes)))
        windows = [Window(array[start : start + rows]) for start in range(0, len(array), rows)]
        for window in windows:
            self._waiting.put(window)
        return PendingAnswer(windows, num_classes=len(self.teacher.manifest.classes))

    def answered(
        self, batches: Iterable[Batch], *, inputs: Callable[[Any], Rows] = itemgetter(0)
    ) -> Iterator[tuple[Batch, RemoteAnswer]]:
        """Each batch with its answer, in their order; asked ahead, several batches in a window.

        Args:
            batches: what a loop would iterate over, such as a ``DataLoader``; a few windows of it are held at a time.
            inputs: the rows of a batch; left out, its first item.

        Raises:
            StillhouseError: as `PendingAnswer.result`.
        """
        return ask_ahead(self.ask, batches, inputs, ahead=len(self._lines), window_rows=WINDOW_ROWS)

    def close(self) -> None:
        """Give the teacher back; what is not answered fails. Harmless if done again."""
        self._stop.set()
        for line in self._lines:
            line.hang_up()
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(1.0)  # one that is just connecting ends by itself
        self.reservation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _line(self) -> RemoteLine:
        longest_s = patience_s(WINDOW_ROWS, deadline_s=self._asked.deadline_s, teacher=self.teacher) + DOOR_S
        return RemoteLine(
            self.reservation, patience_s=longest_s, give_up_s=self._give_up_s, stop=self._stop, told=self._told
        )

    def _trouble(self, line: RemoteLine) -> str:
        try:
            seen = line.look()
        except (DependencyDown, NotFound) as error:
            return error.message
        if seen.digest != self.teacher.digest:
            raise InvalidAnswer(f"the door holds another version of {seen.teacher} than was reserved")
        return "" if seen.ready else "no replica answers"

    def _work(self, line: RemoteLine) -> None:
        while (window := self._waiting.get()) is not None:
            if window.answer.set_running_or_notify_cancel():
                self._answer(window, line)
        line.close()

    def _answer(self, window: "Window", line: RemoteLine) -> None:
        asked = self._asked.model_copy(update={"request_id": uuid.uuid4().hex, "num_rows": len(window.inputs)})
        try:
            window.answer.set_result(line.ask(asked, window.inputs))
        except Exception as error:  # it is raised where the answer is waited for
            window.answer.set_exception(error)


@dataclass(frozen=True)
class Window:
    """Rows (N, ...) that are asked together, and what is said to them."""

    inputs: Array
    answer: "Future[tuple[AnswerHeader, dict[str, Array]]]" = field(default_factory=Future)


class PendingAnswer:
    """An answer that is on its way."""

    def __init__(self, windows: Sequence[Window], *, num_classes: int) -> None:
        self._windows = windows
        self._num_classes = num_classes
        self._joined: RemoteAnswer | None = None

    def result(self) -> RemoteAnswer:
        """Wait for it; what fails on the way is asked again.

        Raises:
            TeacherUnavailable: nobody answered for ``give_up_s``, or the pool was closed.
            InvalidAnswer: an answer is not what was asked for.
            StillhouseError: the pool's own word, where asking again can't help.
            CancelledError: `cancel` was called.
        """
        if self._joined is None:
            self._joined = join([window.answer.result() for window in self._windows], self._num_classes)
            # they hold the inputs
            self._windows = ()
        return self._joined

    def cancel(self) -> None:
        """Nobody wants the answer any more: what is not sent yet never is."""
        for window in self._windows:
            window.answer.cancel()
