"""What a finished attempt leaves: weights, program and card for its owner, and ``result.json`` for reports."""

import platform
from importlib.metadata import version
from pathlib import Path

import torch

from distill.contracts import names
from distill.contracts.base import Stored
from distill.contracts.measures import Artifact, AttemptResult, CurvePoint, Quality, Selected, Size, Snapshot
from distill.contracts.models import InputSpec
from distill.contracts.records import JobRecord
from distill.science.complexity import measure_size
from distill.science.datasets import Dataset
from distill.science.export import export_program
from distill.science.files import write_whole
from distill.science.models import Classifier
from distill.science.weights import CARD_FILE, WEIGHTS_FILE, file_digest, save_model
from student_worker.evaluation import Evaluation
from student_worker.model_card import write_card
from student_worker.plan import Plan
from student_worker.pool import Asked
from student_worker.student import architecture

ARTIFACTS_FOLDER = "artifacts"
PROGRAM_FILE = "student.pt2"
README_FILE = "model_card.md"
PREDICTIONS_FILE = "predictions.json"
ARTIFACTS = {
    WEIGHTS_FILE: "application/octet-stream",
    CARD_FILE: "application/json",
    PROGRAM_FILE: "application/zip",
    README_FILE: "text/markdown",
}
"""Name -> media type, in the order in which owners meet them."""


class Left(Stored):
    """What the training itself counted."""

    curve: tuple[CurvePoint, ...]
    steps: int
    snapshots: tuple[Snapshot, ...]
    selected: int | None
    """The epoch that is handed over, where one was selected."""
    last: Quality | None
    """Of the last epoch's weights, where one was selected."""
    asked: Asked
    phases: dict[str, float]


def export_student(
    model: Classifier, record: JobRecord, dataset: Dataset, folder: Path, *, device: torch.device
) -> Size:
    """Write weights, their card and the exported program into ``folder``, and measure the model where it was trained."""
    spec = architecture(record.spec.student)
    model.cpu()
    save_model(model, folder, spec=spec, input=dataset.input, classes=dataset.facts.classes)
    export_program(model, dataset.input, folder / PROGRAM_FILE)
    weights_bytes = (folder / WEIGHTS_FILE).stat().st_size
    threads = record.spec.compute.threads_per_worker
    return measure_size(model.to(device), dataset.input, weights_bytes=weights_bytes, threads=threads, device=device)


def write_result(plan: Plan, storage: Path, dataset: Dataset, size: Size, evaluation: Evaluation, left: Left) -> str:
    """Write the model card, the predictions and ``result.json``, each whole or not at all; artifacts are there already.

    Returns:
        Path of ``result.json``, below the storage root.
    """
    folder = plan.folder_in(storage)
    draft = _draft(plan, dataset, size, evaluation, left)
    card = write_card(plan.record, draft, input_in_words(dataset.input))
    write_whole(folder / ARTIFACTS_FOLDER / README_FILE, lambda part: part.write_text(card))
    write_whole(folder / PREDICTIONS_FILE, lambda part: part.write_text(evaluation.predictions.model_dump_json()))
    result = draft.model_copy(update={"artifacts": tuple(_artifact(plan, storage, name) for name in ARTIFACTS)})
    write_whole(folder / names.RESULT_FILE, lambda part: part.write_text(result.model_dump_json(indent=1)))
    return f"{plan.folder}/{names.RESULT_FILE}"


def versions() -> dict[str, str]:
    """What ran."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ray": version("ray"),
        "stillhouse": version("stillhouse"),
    }


def input_in_words(spec: InputSpec) -> str:
    """What the program takes, for a person."""
    if spec.kind == "image":
        return f"uint8 images (N, {spec.channels}, {spec.height}, {spec.width})"
    if spec.kind == "vector":
        return f"float32 vectors (N, {spec.features})"
    return f"int64 token ids (N, {spec.length}), padded with {spec.pad_id}"


def _draft(plan: Plan, dataset: Dataset, size: Size, evaluation: Evaluation, left: Left) -> AttemptResult:
    return AttemptResult(
        job=plan.job,
        attempt=plan.attempt,
        dataset=dataset.facts,
        size=size,
        quality=evaluation.student,
        selected=None if left.selected is None else Selected(epoch=left.selected, quality=evaluation.student),
        last=left.last,
        agreement=evaluation.agreement,
        teachers=evaluation.teachers,
        ensemble=evaluation.ensemble,
        curve=left.curve,
        steps=left.steps,
        phases=left.phases,
        teacher_rows=left.asked.rows,
        teacher_rows_recalled=left.asked.recalled,
        teacher_wait_s=left.asked.wait_s,
        artifacts=(),
        snapshots=left.snapshots,
        predictions=f"{plan.folder}/{PREDICTIONS_FILE}",
        versions=versions(),
    )


def _artifact(plan: Plan, storage: Path, name: str) -> Artifact:
    path = f"{plan.folder}/{ARTIFACTS_FOLDER}/{name}"
    file = storage / path
    return Artifact(
        name=name, path=path, size_bytes=file.stat().st_size, digest=file_digest(file), media_type=ARTIFACTS[name]
    )
