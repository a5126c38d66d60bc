"""The student beside its teachers on test data that was never used for a choice.

Shapes: N test rows, M members, C classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.contracts.ensemble import EnsembleSpec
from distill.contracts.measures import Predictions, Quality, TeacherQuality
from distill.contracts.teachers import ResolvedTeacher
from distill.science.datasets import Dataset
from distill.science.ensembles import combine
from distill.science.inference import predict
from distill.science.metrics import agreement, quality, quality_of_probabilities
from distill.science.models import Classifier
from student_worker.batches import Batch, Cursor
from student_worker.pool import Pool
from student_worker.targets import served
from student_worker.training import layout_of

TEST_BATCH = 512


@dataclass(frozen=True)
class Evaluation:
    """What was measured."""

    student: Quality
    predictions: Predictions
    agreement: float | None = None
    ensemble: Quality | None = None
    teachers: tuple[TeacherQuality, ...] = ()


def evaluate(
    model: Classifier,
    dataset: Dataset,
    teachers: Sequence[ResolvedTeacher],
    pool: Pool | None,
    *,
    ensemble: EnsembleSpec,
    device: torch.device,
) -> Evaluation:
    """Measure the student, and with teachers the combined ensemble and each member too.

    Raises:
        TeacherUnavailable: the teachers gave no answer for the test rows.
    """
    labels_N = dataset.test_labels
    student_NC = predict(model, dataset.test_inputs, batch_size=TEST_BATCH, device=device)
    student, named_N = quality(student_NC, labels_N), student_NC.argmax(dim=1)
    if pool is None:
        return Evaluation(student, Predictions(student=_numbers(named_N), truth=_numbers(labels_N)))
    logits_NMC = answers(dataset, pool)
    weights_M = layout_of(teachers).weights()
    combined_NC = combine(logits_NMC, member_weights_M=weights_M, spec=ensemble, temperature=1.0)
    ensemble_N = combined_NC.argmax(dim=1)
    return Evaluation(
        student,
        Predictions(student=_numbers(named_N), ensemble=_numbers(ensemble_N), truth=_numbers(labels_N)),
        agreement=agreement(named_N, ensemble_N),
        ensemble=quality_of_probabilities(combined_NC, labels_N),
        teachers=tuple(_teacher_qualities(logits_NMC, ensemble_N, teachers, labels_N, ensemble)),
    )


def answers(dataset: Dataset, pool: Pool) -> Tensor:
    """The teachers' answers for every test row, (N, M, C), asked in windows."""
    rows = _batches_of(dataset.test_inputs)
    logits = [targets.served_logits_NMC for _, targets in served(rows, pool)]
    return torch.cat([part_NMC for part_NMC in logits if part_NMC is not None])


def _batches_of(inputs: Tensor) -> Iterator[Batch]:
    for part in torch.split(inputs, TEST_BATCH):
        yield Batch(cursor=Cursor(), inputs=part, labels_N=torch.full((len(part),), -1), num_labelled=0)


def _teacher_qualities(
    logits_NMC: Tensor,
    ensemble_N: Tensor,
    teachers: Sequence[ResolvedTeacher],
    labels_N: Tensor,
    ensemble: EnsembleSpec,
) -> Iterator[TeacherQuality]:
    """Each teacher alone: its members weigh the same. Agreement is with the classes ``ensemble_N`` of all together."""
    parts = torch.split(logits_NMC, [len(teacher.manifest.members) for teacher in teachers], dim=1)
    for teacher, part_NMC in zip(teachers, parts, strict=True):
        even_M = torch.ones(part_NMC.shape[1])
        combined_NC = combine(part_NMC, member_weights_M=even_M, spec=ensemble, temperature=1.0)
        yield TeacherQuality(
            teacher=teacher.reference,
            ensemble=quality_of_probabilities(combined_NC, labels_N),
            members=tuple(quality(part_NMC[:, member], labels_N) for member in range(part_NMC.shape[1])),
            agreements=tuple(agreement(member_NC.argmax(dim=1), ensemble_N) for member_NC in part_NMC.unbind(dim=1)),
        )


def _numbers(classes_N: Tensor) -> tuple[int, ...]:
    return tuple(int(number) for number in classes_N.tolist())
