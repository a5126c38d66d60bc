"""Snapshots: the student's weights as they were after an epoch, so that a run can be followed as a teacher's trajectory."""

from pathlib import Path

from distill.contracts.measures import Snapshot
from distill.science.datasets import Dataset
from distill.science.files import write_whole_folder
from distill.science.models import Classifier
from distill.science.weights import WEIGHTS_FILE, file_digest, save_model
from student_worker.learner import to_keep
from student_worker.plan import Plan
from student_worker.student import architecture

SNAPSHOTS_FOLDER = "snapshots"
"""In the attempt's folder."""


def keep_snapshot(student: Classifier, plan: Plan, dataset: Dataset, storage: Path, *, epoch: int) -> Snapshot:
    """Write the student as it would be handed over now, whole or not at all, into the attempt's folder.

    Args:
        student: in training, on any device.
        plan: of the attempt.
        dataset: what the student takes and names.
        storage: its root.
        epoch: the one that has just ended, from 1.
    """
    path = f"{plan.folder}/{SNAPSHOTS_FOLDER}/epoch-{epoch:04d}"
    model, spec = to_keep(plan.record, student), architecture(plan.record.spec.student)
    write_whole_folder(
        storage / path,
        lambda part: save_model(model, part, spec=spec, input=dataset.input, classes=dataset.facts.classes),
    )
    return Snapshot(epoch=epoch, path=path, digest=file_digest(storage / path / WEIGHTS_FILE))
