"""The door to the teacher pool: ask windows of rows, get checked answers, and wait with patience where none come.

    pool = TeacherPool(record.teachers, team="vision", job="fashion-small", precision="fp16")
    pending = pool.ask(inputs)      # sent to every teacher at once; go on with other work
    answer = pending.result()       # answer.logits_NMC

A pool is used by one thread at a time. It needs a process that is connected to Ray.

Shapes: N rows, M members of all teachers together, C classes.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from distill.contracts.errors import InvalidAnswer, InvalidSpec, TeacherUnavailable
from distill.contracts.taps import MemberTap
from distill.contracts.teachers import ResolvedTeacher
from distill.contracts.wire import AnswerHeader, AskHeader
from teacher_server.calls import AskStopped, Call, Line
from teacher_server.parts import Part, parts_of
from teacher_server.replies import read_reply
from teacher_server.window import INPUTS, LOGITS, tap_key

__all__ = ["Answer", "AskStopped", "PendingAnswer", "TeacherPool"]

POLL_S = 0.1
DESCRIBE_S = 15.0
GRACE_S = 5.0
SLOWNESS = 10.0
"""A replica takes up a window within the deadline, or refuses it; it may then take so many times as long for it as its
manifest says, for a busy machine's sake. What isn't here after that and `GRACE_S` is lost."""


@dataclass(frozen=True)
class Answer:
    """What all teachers said to one window, checked."""

    logits_NMC: Tensor  # noqa: N815 - the name carries the shape
    """(N, M, C), float16 or float32 as asked; members of the teachers in job-file order."""
    members: tuple[int, ...]
    """Who spoke: positions among the members of all teachers, one for each of M."""
    features: dict[tuple[int, str], Tensor]
    """(N, ...) by (position of the member, key of the tap)."""
    headers: tuple[AnswerHeader, ...]
    """One a teacher that was asked."""


class TeacherPool:
    """The teachers of one job, as one ensemble that is asked together."""

    def __init__(
        self,
        teachers: Sequence[ResolvedTeacher],
        *,
        team: str,
        job: str,
        precision: Literal["fp32", "fp16"],
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
            precision: of logits and taps.
            taps: what is wanted beside logits; members are counted over all teachers, in job-file order.
            deadline_s: how long a window may stand in a replica's queue before it is refused, and asked again.
            on_wait: called once with (``name@version``, why) when a teacher has been silent for 3 seconds.
            on_return: called with ``name@version`` when that teacher answers again.
            give_up_s: how long a teacher may be silent before `TeacherUnavailable` is raised.
            should_stop: asked each tenth of a second while waiting; True raises `AskStopped`.

        Raises:
            InvalidSpec: no teachers, class lists that differ, or a tap that its member can't give.
        """
        _check(teachers, taps)
        self.rows_asked = 0
        """Rows times teachers, over all windows; what is asked again after a failure counts once."""
        self.wait_s = 0.0
        """Seconds spent in `PendingAnswer.result`: the student had nothing to learn from."""
        self._lines = [Line(teacher, on_wait=on_wait, on_return=on_return, give_up_s=give_up_s) for teacher in teachers]
        self._sizes = [len(teacher.manifest.members) for teacher in teachers]
        self._taps = tuple(taps)
        self._should_stop = should_stop or (lambda: False)
        self._ask = AskHeader(
            request_id="template", team=team, job=job, num_rows=1, precision=precision, deadline_s=deadline_s
        )

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until a replica of every teacher runs, and is the version that the job was promised.

        Raises:
            TeacherUnavailable: not after ``timeout_s``.
            InvalidAnswer: a teacher is another one than its name and digest say.
            AskStopped: ``should_stop`` said so.
        """
        calls = [Call(line, "describe", (), patience_s=DESCRIBE_S) for line in self._lines]
        try:
            facts = _wait_for(calls, self._should_stop, until=time.monotonic() + timeout_s)
        finally:
            for call in calls:
                call.cancel()
        for line, fact in zip(self._lines, facts, strict=True):
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
        asked = [self._header(len(inputs), part) for part in parts]
        tensors = {INPUTS: inputs.detach().contiguous().numpy()}
        calls = [
            Call(line, "answer", (header.model_dump(mode="json"), tensors), patience_s=_patience(header, line.teacher))
            for line, header in zip((self._lines[part.teacher] for part in parts), asked, strict=True)
        ]
        self.rows_asked += len(inputs) * len(calls)
        starts = [part.start for part in parts]
        return PendingAnswer(calls, asked, starts, should_stop=self._should_stop, on_waited=self._add_wait)

    def _header(self, num_rows: int, part: Part) -> AskHeader:
        is_all = len(part.members) == self._sizes[part.teacher]
        return self._ask.model_copy(
            update={
                "request_id": uuid.uuid4().hex,
                "num_rows": num_rows,
                "members": None if is_all else part.members,
                "taps": part.taps,
            }
        )

    def _add_wait(self, seconds: float) -> None:
        self.wait_s += seconds


class PendingAnswer:
    """An answer that is on its way."""

    def __init__(
        self,
        calls: Sequence[Call],
        asked: Sequence[AskHeader],
        starts: Sequence[int],
        *,
        should_stop: Callable[[], bool],
        on_waited: Callable[[float], None],
    ) -> None:
        self._calls = calls
        self._asked = asked
        self._starts = starts
        self._should_stop = should_stop
        self._on_waited = on_waited
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
            started = time.monotonic()
            try:
                self._answer = self._merge(_wait_for(self._calls, self._should_stop))
            finally:
                self._on_waited(time.monotonic() - started)
                self.cancel()
            # they hold the inputs, and in the replies Ray's memory
            self._calls = ()
        return self._answer

    def cancel(self) -> None:
        """Nobody wants the answer any more; harmless after it came."""
        for call in self._calls:
            call.cancel()

    def _merge(self, replies: Sequence[object]) -> Answer:
        read = [
            read_reply(reply, ask, call.teacher)
            for reply, ask, call in zip(replies, self._asked, self._calls, strict=True)
        ]
        answered = list(zip(self._starts, self._asked, read, strict=True))
        return Answer(
            logits_NMC=torch.cat([tensors[LOGITS] for _, tensors in read], dim=1),
            members=tuple(start + member for start, _, (header, _) in answered for member in header.members),
            features={
                (start + wanted.member, wanted.tap.key): tensors[tap_key(wanted.member, wanted.tap)]
                for start, ask, (_, tensors) in answered
                for wanted in ask.taps
            },
            headers=tuple(header for header, _ in read),
        )


def _wait_for(calls: Sequence[Call], should_stop: Callable[[], bool], *, until: float | None = None) -> list[Any]:
    """The replies to all calls; all are kept going while one is waited for."""
    for waited in calls:
        while not waited.is_done:
            if should_stop():
                raise AskStopped("asked to stop while waiting for a teacher")
            if until is not None and time.monotonic() > until:
                raise TeacherUnavailable(f"{waited.teacher.reference} is not ready: {waited.trouble}")
            waited.poll(POLL_S)
            for other in calls:
                other.poll(0)
    return [call.reply for call in calls]


def _patience(ask: AskHeader, teacher: ResolvedTeacher) -> float:
    """Seconds after which a replica that took the window must have lost it."""
    return ask.deadline_s + SLOWNESS * ask.num_rows / teacher.manifest.rows_per_s + GRACE_S


def _check(teachers: Sequence[ResolvedTeacher], taps: Sequence[MemberTap]) -> None:
    if not teachers:
        raise InvalidSpec("a pool needs at least one teacher", field="teachers")
    first = teachers[0]
    for other in teachers[1:]:
        if other.manifest.classes != first.manifest.classes:
            raise InvalidSpec(
                f"{other.reference} and {first.reference} don't name the same classes in the same order",
                field="teachers",
                expected=", ".join(first.manifest.classes),
                got=", ".join(other.manifest.classes),
            )
    members = [member for teacher in teachers for member in teacher.manifest.members]
    for asked in taps:
        if asked.member >= len(members):
            raise InvalidSpec(
                f"a tap of member {asked.member} is asked, and there are {len(members)}", field="objective"
            )
        try:
            asked.tap.row_shape(members[asked.member].taps)
        except (KeyError, ValueError) as error:
            raise InvalidSpec(f"member {asked.member} can't give {asked.tap}: {error}", field="objective") from error
