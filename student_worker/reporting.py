"""What rank 0 says while it works: facts for the record, and live figures about twice a second."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from distill.contracts.base import now
from distill.contracts.facts import (
    CheckpointSaved,
    EpochEnded,
    PhaseReached,
    TeacherAwaited,
    TeacherReturned,
    WorkerFact,
)
from distill.contracts.job import TrainingSpec
from distill.contracts.measures import CurvePoint
from distill.contracts.records import CheckpointRef, Phase, Progress
from distill.journal.journal import Journal

EVERY_S = 0.5
SMOOTHING = 0.3
"""Weight of the newest interval in the rate that is shown."""
SETTLED_S = 5.0
"""So long the rate is watched before it foretells an end: first steps are slow, of the student and of its teachers."""


class Reporter:
    """Speaks for the attempt; a rank that is not the first has no journal, and stays silent."""

    def __init__(
        self,
        journal: Journal | None,
        *,
        attempt: int,
        training: TrainingSpec,
        num_steps: int,
        is_futile: Callable[[], bool] = lambda: False,
    ) -> None:
        """Leaving it waits for Redis to take everything, unless ``is_futile``: the attempt counts no longer."""
        self._journal = journal
        self._is_futile = is_futile
        self._attempt = attempt
        self._training = training
        self._num_steps = num_steps
        self._phase = "loading the data"
        self._step = 0
        self._epoch = 0
        self._loss: float | None = None
        self._rate: float | None = None
        self._timed_s = 0.0
        self._shown_at = 0.0
        self._shown_step: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._journal is not None:
            self._journal.close(unless=self._is_futile)

    def phase(self, phase: Phase) -> None:
        """The attempt reached a station."""
        self._append(PhaseReached(attempt=self._attempt, at=now(), phase=phase))

    def says(self, phase: str) -> None:
        """What is happening now, in words, shown at once."""
        self._phase = phase
        self._shown_step = None
        self._show()

    def stands_at(self, *, step: int, epoch: int) -> None:
        """Steps over all epochs, and whole epochs, that are done."""
        self._step, self._epoch = step, epoch

    @property
    def is_due(self) -> bool:
        """Half a second has passed since figures were shown."""
        return time.monotonic() - self._shown_at >= EVERY_S

    def figures(self, loss: float | None) -> None:
        """Show the mean loss of the epoch so far (None: it is no number), with rate and time left."""
        self._loss = loss
        self._rate = self._new_rate()
        self._show()
        self._shown_step = self._step

    def epoch_ended(self, point: CurvePoint) -> None:
        """An epoch is complete."""
        metrics = {key: float(value) for key, value in point.model_dump(exclude_none=True).items()}
        self._append(EpochEnded(attempt=self._attempt, at=now(), epoch=point.epoch, metrics=metrics))

    def checkpoint_saved(self, checkpoint: CheckpointRef) -> None:
        """A checkpoint is on storage."""
        self._append(CheckpointSaved(attempt=self._attempt, at=now(), checkpoint=checkpoint))

    def teacher_awaited(self, teacher: str, text: str) -> None:
        """A teacher doesn't answer."""
        self._append(TeacherAwaited(attempt=self._attempt, at=now(), teacher=teacher, text=text))
        self.says("waiting for the teacher")

    def teacher_returned(self, teacher: str) -> None:
        """A teacher answers again."""
        self._append(TeacherReturned(attempt=self._attempt, at=now(), teacher=teacher))
        self.says("training")

    def _append(self, fact: WorkerFact) -> None:
        if self._journal is not None:
            self._journal.append(fact)

    def _show(self) -> None:
        self._shown_at = time.monotonic()
        if self._journal is None:
            return
        self._journal.progress(
            Progress(
                attempt=self._attempt,
                phase=self._phase,
                step=self._step,
                num_steps=self._num_steps,
                epoch=self._epoch,
                num_epochs=self._training.epochs,
                loss=self._loss,
                rows_per_s=self._rate,
                eta_s=self._time_left_s(),
                at=now(),
            )
        )

    def _new_rate(self) -> float | None:
        """Rows per second: the newest interval, smoothed with those before; none across a pause in the training."""
        if self._shown_step is None:
            return self._rate
        interval_s = time.monotonic() - self._shown_at
        self._timed_s += interval_s
        newest = (self._step - self._shown_step) * self._training.batch_size / max(interval_s, 1e-6)
        return newest if self._rate is None else SMOOTHING * newest + (1 - SMOOTHING) * self._rate

    def _time_left_s(self) -> float | None:
        if not self._rate or self._timed_s < SETTLED_S:
            return None
        return (self._num_steps - self._step) * self._training.batch_size / self._rate
