"""Checkpoints: a training cut at a step and put together again goes on as if nothing had happened, bit by bit.

A folder ``step-00001234`` holds ``model.safetensors`` (the student and all that is trained beside it: peers, bridges,
heads, an average), ``optimizer.safetensors`` and ``state.json``, and where an epoch may be selected
``selected.safetensors``, the student of the best one so far; nothing is pickled.
No random state is kept: order, views and dropout follow from the seed and the cursor.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import safetensors
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from distill.contracts.base import Stored
from distill.contracts.errors import InvalidWeights
from distill.contracts.measures import CurvePoint, Snapshot
from distill.science.files import write_whole_folder
from distill.science.weights import file_digest
from student_worker.batches import Cursor
from student_worker.pool import Asked
from student_worker.training import Training

MODEL_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
SELECTED_FILE = "selected.safetensors"
STATE_FILE = "state.json"


class TrainingState(Stored):
    """What a checkpoint holds beside tensors."""

    epoch: int = 0
    """Epochs that are complete."""
    step: int = 0
    """Steps that are complete in the next one."""
    loss_sum: float = 0.0
    """Of these steps, mean over ranks."""
    seconds: float = 0.0
    """Wall time of these steps."""
    curve: tuple[CurvePoint, ...] = ()
    teacher_rows: int = 0
    teacher_rows_recalled: int = 0
    teacher_wait_s: float = 0.0
    best_member: int | None = None
    """Who was right most often on the validation rows, where the job listens to that one alone."""
    snapshots: tuple[Snapshot, ...] = ()
    """Those that were kept so far, by this attempt and by those that it goes on from."""
    stopped_early: bool = False
    """Validation rows said after the last complete epoch that it is enough."""

    @property
    def asked(self) -> Asked:
        """What the training has had of its teachers so far."""
        return Asked(self.teacher_rows, self.teacher_rows_recalled, self.teacher_wait_s)

    @property
    def cursor(self) -> Cursor:
        """Where the training goes on."""
        return Cursor(self.epoch, self.step)


class _StateFile(Stored):
    state: TrainingState
    optimizer: dict[str, dict[str, Any]]
    """Parameter's place -> its values that are no tensors."""
    groups: list[dict[str, Any]]
    schedule: dict[str, Any]


def save(folder: Path, training: Training, state: TrainingState, *, num_steps_done: int) -> tuple[Path, str]:
    """Write a whole, synced checkpoint below ``folder``.

    Returns:
        Its folder and its digest.
    """
    final = folder / f"step-{num_steps_done:08d}"
    write_whole_folder(final, lambda part: _write(part, training, state))
    return final, digest(final)


def restore(folder: Path, training: Training, *, expected_digest: str) -> TrainingState:
    """Fill ``training`` from a checkpoint, and tell where it stood.

    Raises:
        InvalidWeights: the checkpoint is missing, torn or changed, or is not of this student.
    """
    if (came := digest(folder)) != expected_digest:
        raise InvalidWeights(
            f"the checkpoint {folder.name} is torn, or was changed: it is not what was saved",
            expected=expected_digest,
            got=came,
            hint="submit the job again to train from the start",
        )
    try:
        return _read(folder, training)
    except (safetensors.SafetensorError, ValidationError, RuntimeError, KeyError, ValueError) as error:
        raise InvalidWeights(f"the checkpoint {folder.name} doesn't fit this student: {error}") from error


def prune(folder: Path, *, applied: Path | None) -> None:
    """Remove the checkpoints of ``folder`` that are older than ``applied``, the record's: an attempt starts from no other.

    What is newer stays, however much there is: whether the record will ever name it is not known here.
    """
    if applied is None or applied.parent != folder:
        return
    for old in folder.glob("step-*"):
        if old.name < applied.name:
            shutil.rmtree(old, ignore_errors=True)


def digest(folder: Path) -> str:
    """SHA-256 over the names and digests of the folder's files."""
    lines = [f"{file.name} {file_digest(file)}" for file in sorted(folder.glob("*")) if file.is_file()]
    return "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _write(folder: Path, training: Training, state: TrainingState) -> None:
    model = {name: _whole(tensor) for name, tensor in training.learner.state_dict().items()}
    tensors, scalars, groups = _flat(training.optimizer.state_dict())
    content = _StateFile(state=state, optimizer=scalars, groups=groups, schedule=training.schedule.state_dict())
    save_file(model, folder / MODEL_FILE)
    save_file(tensors, folder / OPTIMIZER_FILE)
    if training.selected:
        save_file({name: _whole(tensor) for name, tensor in training.selected.items()}, folder / SELECTED_FILE)
    (folder / STATE_FILE).write_text(json.dumps(content.model_dump(mode="json")))


def _read(folder: Path, training: Training) -> TrainingState:
    content = _StateFile.model_validate_json((folder / STATE_FILE).read_bytes())
    training.learner.load_state_dict(load_file(folder / MODEL_FILE), strict=True)
    tensors = load_file(folder / OPTIMIZER_FILE)
    training.optimizer.load_state_dict(_nested(tensors, content.optimizer, content.groups))
    training.schedule.load_state_dict(content.schedule)
    if (folder / SELECTED_FILE).exists():
        training.selected = _fitting(load_file(folder / SELECTED_FILE), training)
    return content.state


def _fitting(selected: dict[str, Tensor], training: Training) -> dict[str, Tensor]:
    wanted = {name: tensor.shape for name, tensor in training.model.state_dict().items()}
    if {name: tensor.shape for name, tensor in selected.items()} != wanted:
        raise ValueError(f"the tensors of {SELECTED_FILE} are not the student's")
    return selected


def _flat(optimizer: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """The state of a torch optimiser as tensors by name, scalars by place, and parameter groups."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for place, values in optimizer["state"].items():
        scalars[str(place)] = {key: value for key, value in values.items() if not isinstance(value, Tensor)}
        tensors |= {f"{place}.{key}": _whole(value) for key, value in values.items() if isinstance(value, Tensor)}
    return tensors, scalars, optimizer["param_groups"]


def _nested(
    tensors: dict[str, Tensor], scalars: dict[str, dict[str, Any]], groups: list[dict[str, Any]]
) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {int(place): dict(values) for place, values in scalars.items()}
    for name, tensor in tensors.items():
        place, key = name.split(".", 1)
        state[int(place)][key] = tensor
    return {"state": state, "param_groups": groups}


def _whole(tensor: Tensor) -> Tensor:
    """A copy that shares memory with nothing, as safetensors wants it."""
    return tensor.detach().to("cpu", copy=True).contiguous()
