"""What validation rows decide: which epoch is handed over, and when a training has gone on for long enough."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.contracts.ensemble import BestMember
from distill.contracts.errors import InvalidSpec
from distill.contracts.job import EvaluationSpec, JobSpec
from distill.contracts.measures import CurvePoint, Quality, best_point
from distill.contracts.records import JobRecord
from distill.science.datasets import Dataset
from distill.science.models import Classifier
from student_worker.evaluation import student_quality
from student_worker.learner import to_keep
from student_worker.training import Training


@dataclass(frozen=True)
class HandedOver:
    """The student as it is measured and exported."""

    model: Classifier
    epoch: int | None = None
    """The one that was selected; None: the last, as nobody selects."""
    last: Quality | None = None
    """On test rows, of the last epoch's weights, where another may have been selected."""


def hand_over(
    training: Training, record: JobRecord, curve: Sequence[CurvePoint], dataset: Dataset, *, device: torch.device
) -> HandedOver:
    """The student of the last epoch, or of the best one on validation rows.

    Args:
        training: at its end; its student gets the selected weights.
        record: of the job.
        curve: every epoch.
        dataset: its test rows are measured on, and choose nothing.
        device: where the student is.
    """
    if record.spec.evaluation.select == "last":
        return HandedOver(to_keep(record, training.model))
    last = student_quality(to_keep(record, training.model), dataset, device=device)
    best = best_point(curve)
    assert best is not None, "the attempt's check has seen labelled validation rows"  # noqa: S101
    training.take_selected()
    return HandedOver(to_keep(record, training.model), epoch=best.epoch, last=last)


def is_out_of_patience(curve: Sequence[CurvePoint], evaluation: EvaluationSpec) -> bool:
    """Whether so many measurements as the patience have followed the best one."""
    best = best_point(curve)
    if evaluation.patience is None or best is None:
        return False
    later = [point for point in curve if point.epoch > best.epoch and point.validation_accuracy is not None]
    return len(later) >= evaluation.patience


def check_has_validation_labels(spec: JobSpec, labels_N: Tensor) -> None:
    """Refuse a choice that nothing could decide.

    Args:
        spec: the job file.
        labels_N: of the validation rows, (N,), -1 where a row has none.

    Raises:
        InvalidSpec: something is chosen on validation rows, and none of them has a label.
    """
    for field, what in _choices(spec):
        if not bool((labels_N >= 0).any()):
            raise InvalidSpec(
                f"{field}: {what} on validation rows, and none of them has a label",
                field=field,
                hint="hold labelled rows back (dataset.validation), or leave it out",
            )


def _choices(spec: JobSpec) -> Iterator[tuple[str, str]]:
    """Field and meaning of each choice that validation rows make for this job."""
    if isinstance(spec.ensemble.members, BestMember):
        yield "ensemble.members.kind", "the 'best' member is chosen"
    if spec.evaluation.select == "best":
        yield "evaluation.select", "the 'best' epoch is chosen"
    if spec.evaluation.patience is not None:
        yield "evaluation.patience", "the end is chosen"
