"""The teachers as a rank meets them: what it needs of `teacher_server.client.TeacherPool`, and how one is opened."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from distill.contracts.errors import TeacherUnavailable
from distill.contracts.records import JobRecord
from distill.contracts.taps import MemberTap
from distill.science.compact import CompactLogits
from student_worker.reporting import Reporter

GIVE_UP_S = 300.0
"""After this long without a teacher, an attempt saves and gives its workers back."""


@dataclass(frozen=True)
class Asked:
    """What a training, or a part of it, had of its teachers."""

    rows: int = 0
    """Asked for; rows that a rank remembers itself are not."""
    recalled: int = 0
    """Of these, rows that nobody computed for it."""
    wait_s: float = 0.0
    """Seconds in which an answer was waited for."""

    @classmethod
    def of(cls, pool: "Pool | None") -> "Asked":
        """Of a pool, so far."""
        return cls() if pool is None else cls(pool.rows_asked, pool.rows_recalled, pool.wait_s)

    def __add__(self, other: "Asked") -> "Asked":
        return Asked(self.rows + other.rows, self.recalled + other.recalled, self.wait_s + other.wait_s)

    def __sub__(self, other: "Asked") -> "Asked":
        return Asked(self.rows - other.rows, self.recalled - other.recalled, self.wait_s - other.wait_s)


class Answered(Protocol):
    """What a teacher answered."""

    @property
    def logits(self) -> CompactLogits:
        """Of N rows, members of all teachers in job-file order."""

    @property
    def members(self) -> tuple[int, ...]:
        """Who spoke: positions among the members of all teachers, one for each of M."""

    @property
    def features(self) -> Mapping[tuple[int, str], Tensor]:
        """(N, ...) by position of the member and key of the tap."""


class Pending(Protocol):
    """An answer on its way."""

    def result(self) -> Answered:
        """Wait for it.

        Raises:
            TeacherUnavailable: nobody answered for as long as the pool was told to wait, or it was told to stop.
        """


class Pool(Protocol):
    """Whom a rank asks."""

    def ask(self, inputs: Tensor, *, members: Sequence[int] | None = None, with_taps: bool = True) -> Pending:
        """Start asking for raw inputs (N, ...); of some members, or of all."""

    @property
    def rows_asked(self) -> int:
        """So far."""

    @property
    def rows_recalled(self) -> int:
        """Of these, rows that nobody computed for this pool."""

    @property
    def wait_s(self) -> float:
        """Seconds so far in which an answer was waited for."""


def open_pool(
    record: JobRecord, reporter: Reporter, *, taps: Sequence[MemberTap], should_stop: Callable[[], bool]
) -> Pool | None:
    """The pool of the job's teachers, asked for ``taps`` beside their logits; None for a job without teachers."""
    return _Served(record, reporter, taps=taps, should_stop=should_stop) if record.teachers else None


class _Served:
    """`teacher_server.client`'s pool; a wait that was ended for a wish is, to a rank, an answer that didn't come."""

    def __init__(
        self, record: JobRecord, reporter: Reporter, *, taps: Sequence[MemberTap], should_stop: Callable[[], bool]
    ) -> None:
        # imported here: it brings Ray Serve, which a job without teachers has no use for
        from teacher_server.client import AskStopped, TeacherPool

        self._stopped = AskStopped
        self._pool = TeacherPool(
            record.teachers,
            team=record.team,
            job=record.id,
            answers=record.spec.answers,
            taps=taps,
            on_wait=reporter.teacher_awaited,
            on_return=reporter.teacher_returned,
            give_up_s=min(GIVE_UP_S, record.spec.limits.teacher_wait_s),
            should_stop=should_stop,
        )

    @property
    def rows_asked(self) -> int:
        return self._pool.rows_asked

    @property
    def rows_recalled(self) -> int:
        return self._pool.rows_recalled

    @property
    def wait_s(self) -> float:
        return self._pool.wait_s

    def ask(self, inputs: Tensor, *, members: Sequence[int] | None = None, with_taps: bool = True) -> Pending:
        return _Stoppable(self._pool.ask(inputs, members=members, with_taps=with_taps), self._stopped)


class _Stoppable:
    def __init__(self, pending: Pending, stopped: type[Exception]) -> None:
        self._pending = pending
        self._stopped = stopped

    def result(self) -> Answered:
        try:
            return self._pending.result()
        except self._stopped as error:
            raise TeacherUnavailable("asked to stop while waiting for a teacher") from error
