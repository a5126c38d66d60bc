"""The teachers as a rank meets them: what it needs of `teacher_server.client.TeacherPool`, and how one is opened."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from distill.contracts.records import JobRecord
from student_worker.reporting import Reporter

GIVE_UP_S = 300.0
"""After this long without a teacher, an attempt saves and gives its workers back."""


class Answered(Protocol):
    """What a teacher answered."""

    @property
    def logits_NMC(self) -> Tensor:  # noqa: N802
        """Logits, (N, M, C), members of all teachers in job-file order."""


class Pending(Protocol):
    """An answer on its way."""

    def result(self) -> Answered:
        """Wait for it.

        Raises:
            TeacherUnavailable: nobody answered for as long as the pool was told to wait, or it was told to stop.
        """


class Pool(Protocol):
    """Whom a rank asks."""

    def ask(self, inputs: Tensor) -> Pending:
        """Start asking for raw inputs (N, ...)."""

    @property
    def rows_asked(self) -> int:
        """So far."""

    @property
    def wait_s(self) -> float:
        """Seconds so far in which an answer was waited for."""


def open_pool(record: JobRecord, reporter: Reporter, *, should_stop: Callable[[], bool]) -> Pool | None:
    """The pool of the job's teachers; None for a job without teachers."""
    if not record.teachers:
        return None
    from teacher_server.client import TeacherPool

    return TeacherPool(
        record.teachers,
        team=record.team,
        job=record.id,
        precision=record.spec.answers.precision,
        on_wait=reporter.teacher_awaited,
        on_return=reporter.teacher_returned,
        give_up_s=min(GIVE_UP_S, record.spec.limits.teacher_wait_s),
        should_stop=should_stop,
    )
