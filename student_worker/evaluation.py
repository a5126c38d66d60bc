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
from distill.science.answers import MemberLayout
from distill.science.datasets import Dataset
from distill.science.ensembles import base_weights, combine
from distill.science.inference import predict
from distill.science.members import members_at_the_end
from distill.science.metrics import agreement, quality
from distill.science.models import Classifier
from student_worker.asking import answers
from student_worker.learner import layout_of
from student_worker.pool import Pool

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
    best: int | None = None,
) -> Evaluation:
    """Measure the student, and with teachers the combined ensemble and each member too.

    Args:
        model: the student, as it is handed over.
        dataset: its test rows are measured on.
        teachers: of the job.
        pool: None for a job without teachers.
        ensemble: how their members are combined; those count who spoke at the training's end.
        device: where the student is.
        best: the member that was chosen on validation rows, where one was.

    Raises:
        TeacherUnavailable: the teachers gave no answer for the test rows.
    """
    labels_N = dataset.test_labels
    student_NC = _test_logits(model, dataset, device)
    student, named_N = quality(student_NC, labels_N), student_NC.argmax(dim=1)
    if pool is None:
        return Evaluation(student, Predictions(student=_numbers(named_N), truth=_numbers(labels_N)))
    logits_NMC = answers(dataset.test_inputs, pool)
    combined_NC = _combined(logits_NMC, layout_of(teachers), ensemble, best)
    ensemble_N = combined_NC.argmax(dim=1)
    return Evaluation(
        student,
        Predictions(student=_numbers(named_N), ensemble=_numbers(ensemble_N), truth=_numbers(labels_N)),
        agreement=agreement(named_N, ensemble_N),
        ensemble=quality(combined_NC, labels_N),
        teachers=tuple(_teacher_qualities(logits_NMC, ensemble_N, teachers, labels_N, ensemble)),
    )


def student_quality(model: Classifier, dataset: Dataset, *, device: torch.device) -> Quality:
    """What a student alone is worth on the test rows."""
    return quality(_test_logits(model, dataset, device), dataset.test_labels)


def _test_logits(model: Classifier, dataset: Dataset, device: torch.device) -> Tensor:
    """(N, C)."""
    return predict(model, dataset.test_inputs, batch_size=TEST_BATCH, device=device)


def _combined(logits_NMC: Tensor, layout: MemberLayout, spec: EnsembleSpec, best: int | None) -> Tensor:
    """The ensemble's own answer, (N, C): nobody tells it the labels."""
    speaking = list(members_at_the_end(spec.members, num_members=layout.num_members, best=best))
    base_M = base_weights(layout.weights(), spec)[speaking]
    return combine(logits_NMC[:, speaking], base_M=base_M, spec=spec, temperature=1.0)


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
        combined_NC = combine(part_NMC, base_M=torch.ones(part_NMC.shape[1]), spec=ensemble, temperature=1.0)
        yield TeacherQuality(
            teacher=teacher.reference,
            ensemble=quality(combined_NC, labels_N),
            members=tuple(quality(part_NMC[:, member], labels_N) for member in range(part_NMC.shape[1])),
            agreements=tuple(agreement(member_NC.argmax(dim=1), ensemble_N) for member_NC in part_NMC.unbind(dim=1)),
        )


def _numbers(classes_N: Tensor) -> tuple[int, ...]:
    return tuple(int(number) for number in classes_N.tolist())
