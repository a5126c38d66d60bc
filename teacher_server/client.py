"""The door to the teacher pool: ask windows of rows, get checked answers, and wait with patience where none come.

    with TeacherPool.open("fashion@prod", rows_per_s=5000) as pool:
        pending = pool.ask(inputs)      # sent at once; go on with other work
        answer = pending.result()       # answer.logits_NMC

A pool is used by one thread at a time. It needs a process that is connected to Ray; any other one has
`teacher_server.remote.RemotePool`.

Shapes: N rows, M members of all teachers together, C classes.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from distill.contracts.errors import InvalidAnswer, TeacherUnavailable
from distill.contracts.job import AnswersSpec
from distill.contracts.taps import MemberTap
from distill.contracts.teachers import ResolvedTeacher
from distill.contracts.wire import AskHeader
from distill.science.compact import CompactLogits
from teacher_server.asks import Ask, Recollection
from teacher_server.book.line import BookLine
from teacher_server.calls import AskStopped, Call, Line
from teacher_server.parts import Part, parts_of
from teacher_server.reservation import HeldReservation
from teacher_server.together import check_together
from teacher_server.window import LOGITS, TOP_CLASSES, TOP_LOG_PROBS, TOP_TAIL, tap_key

__all__ = ["Answer", "AskStopped", "PendingAnswer", "TeacherPool"]

POLL_S = 0.1
SOON_S = 0.01
DESCRIBE_S = 15.0


@dataclass(frozen=True)
class Answer:
    """What all teachers said to one window, checked."""

    logits: CompactLogits
    """Of N rows and M members: dense, or the greatest classes; members of the teachers in job-file order."""
    members: tuple[int, ...]
    """Who spoke: positions among the members of all teachers, one for each of M."""
    features: dict[tuple[int, str], Tensor]
    """(N, ...) by (position of the member, key of the tap)."""
    recalled: int
    """Rows times teachers that nobody computed for this window: they were remembered, or somebody else asked for them."""

    @property
    def logits_NMC(self) -> Tensor:  # noqa: N802 - the name carries the shape
        """(N, M, C), dense; of the greatest classes alone it is made of their log-probabilities."""
        return self.logits.dense()


class TeacherPool:
    """The teachers of one job, as one ensemble that is asked together."""

    def __init__(
        self,
        teachers: Sequence[ResolvedTeacher],
        *,
        team: str,
        job: str,
        answers: AnswersSpec,
        taps: Sequence[MemberTap] = (),
        deadline_s: float = 60,
        on_wait: Callable[[str, str], None] | None = None,
        on_return: Callable[[str], None] | None = None,
        give_up_s: float = 3600,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        """Ask nobody yet.

        Args:
            teachers: in job-file order, at least one.
            team: whose queue the windows stand in.
            job: for the replicas' logs.
            answers: their precision, how many classes they tell, and whether they may be remembered ones.
            taps: what is wanted beside logits; members are counted over all teachers, in job-file order.
            deadline_s: how long a window may stand in a replica's queue before it is refused, and asked again.
            on_wait: called once with (``name@version``, why) when a teacher has been silent for 3 seconds.
            on_return: called with ``name@version`` when that teacher answers again.
            give_up_s: how long a teacher may be silent before `TeacherUnavailable` is raised.
            should_stop: asked each tenth of a second while waiting; True raises `AskStopped`.

        Raises:
            InvalidSpec: no teachers, class lists that differ, more top classes than there are, or a tap that its member
                can't give.
        """
        check_together(teachers, taps, answers)
        self.rows_asked = 0
        """Rows times teachers, over all windows; what is asked again after a failure counts once."""
        self.rows_recalled = 0
        """Of these, rows that nobody computed for this pool."""
        self.wait_s = 0.0
        """Seconds spent in `PendingAnswer.result`: the student had nothing to learn from."""
        self._lines = [Line(teacher, on_wait=on_wait, on_return=on_return, give_up_s=give_up_s) for teacher in teachers]
        self._held: HeldReservation | None = None
        book = BookLine()
        self._recalling: list[Ask] = []
        """Those that the book was asked for, and has not spoken of yet."""
        self._recollections = [Recollection(book) for _ in teachers]
        self._sizes = [len(teacher.manifest.members) for teacher in teachers]
        self._num_classes = len(teachers[0].manifest.classes)
        self._answers = answers
        self._taps = tuple(taps)
        self._should_stop = should_stop or (lambda: False)
        self._ask = AskHeader(
            request_id="template",
            team=team,
            job=job,
            num_rows=1,
            precision=answers.precision,
            top_k=answers.top_k,
            deadline_s=deadline_s,
        )

    @classmethod
    def open(
        cls,
        teacher: str,
        *,
        rows_per_s: float,
        answers: AnswersSpec | None = None,
        url: str | None = None,
        key: str | None = None,
        give_up_s: float = 3600,
    ) -> Self:
        """The pool for a training loop of one's own: it reserves the teacher until it is closed.

        Args:
            teacher: ``name@version`` or ``name@alias``.
            rows_per_s: how many rows the loop can take a second: replicas follow from it.
            answers: their precision, how many classes they tell, and whether they may be remembered ones; left out: fp16,
                all classes, and remembered.
            url: of the control plane; left out: ``STILLHOUSE_URL``, else this machine's stack.
            key: an API key with the scope ``submit``; left out: as in `teacher_server.reservation`.
            give_up_s: how long the teacher may be silent before `TeacherUnavailable` is raised.

        Raises:
            DependencyDown: the control plane doesn't answer.
            UnknownTeacher: there is no such teacher, or it isn't READY.
        """
        held = HeldReservation(teacher, rows_per_s=rows_per_s, url=url, key=key)
        try:
            pool = cls(
                [held.teacher], team=held.team, job=held.id, answers=answers or AnswersSpec(), give_up_s=give_up_s
            )
        except BaseException:
            held.close()
            raise
        pool._held = held
        return pool

    def close(self) -> None:
        """Give the teacher back, where `open` reserved it."""
        if self._held is not None:
            self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until a replica of every teacher runs, and is the version that the job was promised.

        Raises:
            TeacherUnavailable: not after ``timeout_s``.
            InvalidAnswer: a teacher is another one than its name and digest say.
            AskStopped: ``should_stop`` said so.
        """
        calls = [Call(line, "describe", (), patience_s=DESCRIBE_S) for line in self._lines]
        try:
            _wait_for(calls, self._should_stop, until=time.monotonic() + timeout_s)
        finally:
            for call in calls:
                call.cancel()
        for line, fact in zip(self._lines, [call.reply for call in calls], strict=True):
            if fact.get("digest") != line.teacher.digest:
                raise InvalidAnswer(
                    f"{line.teacher.reference} as served is not the version that the job was promised",
                    expected=line.teacher.digest,
                    got=str(fact.get("digest")),
                )

    def ask(self, inputs: Tensor, *, members: Sequence[int] | None = None, with_taps: bool = True) -> "PendingAnswer":
        """Send a window to its teachers at once; returns without waiting.

        Args:
            inputs: (N, ...) on the CPU, raw as the student sees them: after augmentation, before normalisation. Not
                to be changed before the answer is there.
            members: positions among the members of all teachers, rising; left out: all. Nobody else computes anything.
            with_taps: whether the pool's taps are wanted of them too.

        Raises:
            ValueError: no member, or one that isn't there.
        """
        parts = parts_of(self._sizes, members, self._taps if with_taps else ())
        array = inputs.detach().contiguous().numpy()
        asks = [
            Ask(self._lines[part.teacher], self._recollections[part.teacher], self._header(len(inputs), part), array)
            for part in parts
        ]
        self._recalling += asks
        self._look_ahead()
        self.rows_asked += len(inputs) * len(asks)
        return PendingAnswer(self, asks, [part.start for part in parts])

    def _look_ahead(self) -> bool:
        """Send on to their teachers the windows that the book has spoken of; whether it is still to speak of others."""
        for ask in self._recalling:
            ask.look_up(0)
        self._recalling = [ask for ask in self._recalling if ask.is_recalling]
        return bool(self._recalling)

    def _header(self, num_rows: int, part: Part) -> AskHeader:
        is_all = len(part.members) == self._sizes[part.teacher]
        return self._ask.model_copy(
            update={
                "request_id": uuid.uuid4().hex,
                "num_rows": num_rows,
                "members": None if is_all else part.members,
                "taps": part.taps,
                "remember": self._answers.may_remember(part.taps),
            }
        )

    def _collect(self, asks: Sequence[Ask], starts: Sequence[int]) -> Answer:
        """Wait for all teachers, and put together what they said."""
        started = time.monotonic()
        try:
            _wait_for(asks, self._should_stop, meanwhile=self._look_ahead)
        finally:
            self.wait_s += time.monotonic() - started
        recalled = sum(ask.recalled_rows for ask in asks)
        self.rows_recalled += recalled
        pairs = list(zip(starts, asks, strict=True))
        return Answer(
            logits=CompactLogits.join([self._logits(ask) for ask in asks], dim=1),
            members=tuple(start + member for start, ask in pairs for member in ask.members),
            features={
                (start + wanted.member, wanted.tap.key): ask.tensors[tap_key(wanted.member, wanted.tap)]
                for start, ask in pairs
                for wanted in ask.header.taps
            },
            recalled=recalled,
        )

    def _logits(self, ask: Ask) -> CompactLogits:
        keys = (LOGITS,) if self._answers.top_k is None else (TOP_LOG_PROBS, TOP_CLASSES, TOP_TAIL)
        return CompactLogits(tuple(ask.tensors[key] for key in keys), self._num_classes)


class PendingAnswer:
    """An answer that is on its way."""

    def __init__(self, pool: TeacherPool, asks: Sequence[Ask], starts: Sequence[int]) -> None:
        self._pool = pool
        self._asks = asks
        self._starts = starts
        self._answer: Answer | None = None

    def result(self) -> Answer:
        """Wait for all teachers; what fails on the way is asked again, of another replica if there is one.

        Raises:
            TeacherUnavailable: a teacher was silent for ``give_up_s``, or failed again and again.
            InvalidAnswer: an answer is not what was asked for.
            InvalidSpec: the teacher doesn't take such a window.
            AskStopped: ``should_stop`` said so.
        """
        if self._answer is None:
            try:
                self._answer = self._pool._collect(self._asks, self._starts)
            finally:
                self.cancel()
            # they hold the inputs
            self._asks = ()
        return self._answer

    def cancel(self) -> None:
        """Nobody wants the answer any more; harmless after it came."""
        for ask in self._asks:
            ask.cancel()


def _wait_for(
    asked: Sequence[Ask | Call],
    should_stop: Callable[[], bool],
    *,
    until: float | None = None,
    meanwhile: Callable[[], bool] = lambda: False,
) -> None:
    """Until all are done; all are kept going while one is waited for.

    ``meanwhile`` is called again and again, and soon again where it says so.
    """
    for waited in asked:
        while not waited.is_done:
            if should_stop():
                raise AskStopped("asked to stop while waiting for a teacher")
            if until is not None and time.monotonic() > until:
                raise TeacherUnavailable(f"{waited.teacher.reference} is not ready: {waited.trouble}")
            waited.poll(SOON_S if meanwhile() else POLL_S)
            for other in asked:
                other.poll(0)
