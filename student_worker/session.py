"""One rank's training as it goes on: steps, epochs, checkpoints, and stopping at a step that all ranks agree on."""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from distill.contracts.errors import TeacherUnavailable
from distill.contracts.measures import CurvePoint, best_point
from distill.contracts.records import CheckpointRef
from distill.science.datasets import Dataset
from distill.science.inference import predict
from distill.science.metrics import quality
from student_worker import checkpoints
from student_worker.batches import Order
from student_worker.checkpoints import TrainingState
from student_worker.plan import Plan
from student_worker.pool import Asked, Pool
from student_worker.ranks import Ranks, Stop
from student_worker.reporting import Reporter
from student_worker.selection import is_out_of_patience
from student_worker.snapshots import keep_snapshot
from student_worker.targets import Lesson
from student_worker.training import Training

VALIDATION_BATCH = 512


class Session:
    """What one rank does with its lessons."""

    def __init__(
        self,
        plan: Plan,
        ranks: Ranks,
        dataset: Dataset,
        order: Order,
        training: Training,
        reporter: Reporter,
        *,
        storage: Path,
        wanted: Callable[[], Stop],
        applied: Callable[[], str | None],
        pool: Pool | None,
        state: TrainingState,
    ) -> None:
        self.training = training
        self.state = state
        self._plan = plan
        self._ranks = ranks
        self._dataset = dataset
        self._num_steps = order.num_steps
        self._reporter = reporter
        self._storage = storage
        self._wanted = wanted
        self._applied = applied
        self._pool = pool
        self._loss_sum = torch.tensor(state.loss_sum, dtype=torch.float64, device=ranks.device)
        self._saved_at = self.steps_done
        self._clock = time.perf_counter()
        self._is_diverging = False

    @property
    def steps_done(self) -> int:
        """Over all epochs."""
        return self.state.epoch * self._num_steps + self.state.step

    def teach(self, lessons: Iterator[Lesson]) -> Stop:
        """Learn from every lesson, or as many as are enough, or stop where all ranks agree to: then a checkpoint says where."""
        self._clock = time.perf_counter()
        while not self.state.stopped_early and (lesson := _next(lessons)) is not None:
            stop = self._ranks.agree(self._stop(lesson))
            if stop is not Stop.NO or isinstance(lesson, Stop):
                return self._stopped(stop)
            self._learn(lesson)
            if self.state.step == self._num_steps and not self._end_epoch():
                return Stop.DIVERGED
        return Stop.NO

    def asked(self) -> Asked:
        """Of the teachers: by all ranks, and in earlier attempts."""
        mine = Asked.of(self._pool)
        rows, recalled, wait_s = self._ranks.total(mine.rows, mine.recalled, mine.wait_s)
        return self.state.asked + Asked(int(rows), int(recalled), wait_s)

    def _stop(self, lesson: Lesson | Stop) -> Stop:
        mine = lesson if isinstance(lesson, Stop) else Stop.NO
        return max(mine, self._wanted(), Stop.DIVERGED if self._is_diverging else Stop.NO)

    def _learn(self, lesson: Lesson) -> None:
        loss = self.training.step(*lesson, number=self.steps_done)
        self._loss_sum += loss.double()
        self.state = self.state.model_copy(update={"step": self.state.step + 1})
        self._reporter.stands_at(step=self.steps_done, epoch=self.state.epoch)
        if self._reporter.is_due:
            mean = float(self._loss_sum) / self.state.step
            self._is_diverging = not math.isfinite(mean)
            self._reporter.figures(None if self._is_diverging else mean)

    def _end_epoch(self) -> bool:
        """Measure, report, save; False if the loss is no number any more."""
        train_loss = self._ranks.total(float(self._loss_sum))[0] / self._num_steps / self._ranks.world_size
        if not math.isfinite(train_loss):
            return False
        point = self._point(train_loss)
        curve = (*self.state.curve, point)
        # the last step may have left weights that no loss has seen yet; rank 0 alone has measured them
        loss, is_enough = self._ranks.total(point.validation_loss or 0.0, float(self._is_enough(curve)))
        if not math.isfinite(loss):
            return False
        self.state = self.state.model_copy(
            update={
                "epoch": point.epoch,
                "step": 0,
                "seconds": 0.0,
                "curve": curve,
                "stopped_early": bool(is_enough),
            }
        )
        self._loss_sum.zero_()
        self._reporter.stands_at(step=self.steps_done, epoch=self.state.epoch)
        # told before it is saved: an attempt that dies in between leaves the epoch to the next one, and no gap in the record
        self._reporter.epoch_ended(point)
        if self._ranks.is_first:
            self._keep_weights()
        self._save()
        self._reporter.says("stopping early" if self.state.stopped_early else "training")
        self._clock = time.perf_counter()
        return True

    def _point(self, train_loss: float) -> CurvePoint:
        epoch, seconds = self.state.epoch + 1, self._seconds()
        accuracy, loss = self._validate(epoch)
        return CurvePoint(
            epoch=epoch,
            step=epoch * self._num_steps,
            train_loss=train_loss,
            learning_rate=self.training.learning_rate,
            validation_accuracy=accuracy,
            validation_loss=loss,
            seconds=seconds,
            rows_per_s=self._num_steps * self._plan.record.spec.training.batch_size / max(seconds, 1e-9),
        )

    def _validate(self, epoch: int) -> tuple[float | None, float | None]:
        spec, rows = self._plan.record.spec, self._dataset.validation_rows
        is_due = epoch % spec.evaluation.every_epochs == 0 or epoch == spec.training.epochs
        labels_N = self._dataset.labels[rows]
        if not (self._ranks.is_first and is_due and (labels_N >= 0).any()):
            return None, None
        self._reporter.says("validating")
        inputs = self._dataset.inputs[rows]
        logits_NC = predict(self.training.model, inputs, batch_size=VALIDATION_BATCH, device=self._ranks.device)
        measured = quality(logits_NC, labels_N)
        return measured.accuracy, measured.nll

    def _is_enough(self, curve: tuple[CurvePoint, ...]) -> bool:
        """Rank 0 alone has the measurements; its word is for all."""
        spec = self._plan.record.spec
        is_last = curve[-1].epoch == spec.training.epochs
        return self._ranks.is_first and not is_last and is_out_of_patience(curve, spec.evaluation)

    def _keep_weights(self) -> None:
        """Keep those of this epoch beside what goes on, if they are wanted; the checkpoint that follows knows of it."""
        spec, best = self._plan.record.spec, best_point(self.state.curve)
        if spec.evaluation.select == "best" and best is not None and best.epoch == self.state.epoch:
            self.training.select()
        # where a run stops early, its trajectory ends there
        if self.state.epoch in spec.training.snapshot_epochs or (spec.training.snapshots and self.state.stopped_early):
            self._keep_snapshot()

    def _keep_snapshot(self) -> None:
        epoch = self.state.epoch
        self._reporter.says("keeping a snapshot")
        kept = keep_snapshot(self.training.model, self._plan, self._dataset, self._storage, epoch=epoch)
        self.state = self.state.model_copy(update={"snapshots": (*self.state.snapshots, kept)})

    def _stopped(self, stop: Stop) -> Stop:
        if stop in {Stop.SUPERSEDED, Stop.DIVERGED}:
            return stop
        self._save()
        return stop

    def _save(self) -> None:
        """Write a checkpoint of this step, unless there is one; all ranks come here together."""
        if self.steps_done == self._saved_at:
            return
        self._saved_at = self.steps_done
        asked = self.asked()
        loss_sum = self._ranks.total(float(self._loss_sum))[0] / self._ranks.world_size
        if self._ranks.is_first:
            self._reporter.says("saving a checkpoint")
            self._write(loss_sum, asked)

    def _write(self, loss_sum: float, asked: Asked) -> None:
        state = self.state.model_copy(
            update={
                "loss_sum": loss_sum,
                "seconds": self._seconds() if self.state.step else 0.0,
                "teacher_rows": asked.rows,
                "teacher_rows_recalled": asked.recalled,
                "teacher_wait_s": asked.wait_s,
            }
        )
        folder = self._plan.folder_in(self._storage) / "checkpoints"
        path, digest = checkpoints.save(folder, self.training, state, num_steps_done=self.steps_done)
        saved = CheckpointRef(
            path=path.relative_to(self._storage).as_posix(),
            digest=digest,
            epoch=state.epoch,
            step=self.steps_done,
            attempt=self._plan.attempt,
        )
        self._reporter.checkpoint_saved(saved)
        applied = self._applied()
        checkpoints.prune(folder, applied=self._storage / applied if applied else None)

    def _seconds(self) -> float:
        return self.state.seconds + time.perf_counter() - self._clock


def _next(lessons: Iterator[Lesson]) -> Lesson | Stop | None:
    try:
        return next(lessons, None)
    except TeacherUnavailable:
        return Stop.WAITED
