"""The way to a teacher through the HTTP door: one window at a time, asked again until it is answered.

What comes of a try:

    ======================================  ====================================================
    an answer                               checked, and given back
    nobody answers, no replica yet, busy    asked again after a pause, for ``give_up_s``
    the reservation is gone                 renewed or opened anew, then asked again
    an error of ours that trying again      raised
    can't help
    any other error of the pool             asked again, `MAX_FAILURES` times in all
    ======================================  ====================================================
"""

import logging
import random
import threading
import time

from distill.contracts.errors import DependencyDown, InvalidAnswer, NotFound, StillhouseError, TeacherUnavailable
from distill.contracts.wire import AnswerHeader, AskHeader
from teacher_server.door.body import MEDIA_TYPE, pack, unpack
from teacher_server.door.views import ReservedTeacher
from teacher_server.remote_answer import read_answer
from teacher_server.reservation import HeldReservation
from teacher_server.web import Connection
from teacher_server.window import INPUTS, Array

log = logging.getLogger(__name__)

SILENT_S = 3.0
"""Silence after which a person is told."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
MAX_FAILURES = 3


class RemoteLine:
    """One connection to the door, used by one thread; `hang_up` is for any."""

    def __init__(
        self,
        held: HeldReservation,
        *,
        patience_s: float,
        give_up_s: float,
        stop: threading.Event,
        told: threading.Event,
    ) -> None:
        """Ask nobody yet.

        Args:
            held: whom to ask, and where.
            patience_s: a door that has taken a request and says nothing for so long has lost it.
            give_up_s: how long one window is asked again.
            stop: once it is set, nothing is asked again.
            told: set while a person knows that the teacher is waited for; of all lines to it together.
        """
        self._held = held
        self._patience_s = patience_s
        self._give_up_s = give_up_s
        self._stop = stop
        self._told = told
        self._url = ""
        self._connection: Connection | None = None

    def ask(self, ask: AskHeader, inputs: Array) -> tuple[AnswerHeader, dict[str, Array]]:
        """The answer to one window (N, ...), checked.

        Raises:
            TeacherUnavailable: nobody answered for ``give_up_s``, the pool failed again and again, or ``stop`` was set.
            InvalidAnswer: the answer is not what was asked for.
            StillhouseError: the pool's own word, where asking again can't help.
        """
        content = pack(ask.model_dump(mode="json"), {INPUTS: inputs})
        began, num_tries, num_failures = time.monotonic(), 0, 0
        while not self._stop.is_set():
            num_tries += 1
            try:
                answered = self._ask_once(ask, inputs, content)
            except (DependencyDown, TeacherUnavailable) as error:
                trouble: StillhouseError = error
            except NotFound as error:
                trouble = self._renewed(error)
            except StillhouseError as error:
                num_failures += 1
                if type(error) is not StillhouseError or num_failures >= MAX_FAILURES:
                    raise
                trouble = error
            else:
                self._told.clear()
                return answered
            self._pause(num_tries, time.monotonic() - began, trouble)
        raise TeacherUnavailable(f"the pool was closed before {self._held.teacher.reference} answered")

    def look(self) -> ReservedTeacher:
        """What the door says of the reservation.

        Raises:
            DependencyDown: nobody answers.
            NotFound: it has ended.
        """
        return ReservedTeacher.model_validate_json(self._send("GET", ""))

    def hang_up(self) -> None:
        """End what is under way."""
        if self._connection is not None:
            self._connection.hang_up()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def _ask_once(self, ask: AskHeader, inputs: Array, content: bytes) -> tuple[AnswerHeader, dict[str, Array]]:
        teacher = self._held.teacher
        answered = self._send("POST", "/answer", content)
        try:
            header, tensors = unpack(answered)
        except ValueError as error:
            raise InvalidAnswer(f"{teacher.reference} answered with something else: {error}") from error
        return read_answer(header, tensors, ask=ask, inputs=inputs, teacher=teacher)

    def _send(self, method: str, what: str, content: bytes | None = None) -> bytes:
        held = self._held.current
        if self._connection is None or self._url != held.door:
            self.close()
            self._url, self._connection = (
                held.door,
                Connection(held.door, timeout_s=self._patience_s, key=self._held.key),
            )
        return self._connection.send(method, f"/reservations/{held.id}{what}", content=content, media_type=MEDIA_TYPE)

    def _renewed(self, lost: NotFound) -> StillhouseError:
        """Why to ask again, after the reservation that was ``lost`` is back, or may be soon."""
        try:
            self._held.renew()
        except (DependencyDown, NotFound) as error:
            return error
        return lost

    def _pause(self, num_tries: int, silent_s: float, trouble: StillhouseError) -> None:
        teacher = self._held.teacher.reference
        if silent_s > self._give_up_s:
            raise TeacherUnavailable(f"{teacher} has not answered for {silent_s:.0f} s: {trouble}") from trouble
        longest_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(num_tries, 10))
        if silent_s > SILENT_S and not self._told.is_set():
            self._told.set()
            log.warning("waiting for %s: %s", teacher, trouble)
        # half of it at random, so that those who failed together don't return together
        self._stop.wait(longest_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
