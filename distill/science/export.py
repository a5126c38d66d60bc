"""The student as a program that plain torch runs: normalisation inside, any number of rows."""

import io
from pathlib import Path

import torch
from torch import Tensor

from distill.contracts.models import InputSpec
from distill.science.files import write_whole
from distill.science.inputs import example_input
from distill.science.models import Classifier

TOLERANCE = 1e-4


def export_program(model: Classifier, input: InputSpec, file: Path) -> None:
    """Write ``file``, a ``.pt2`` program: ``torch.export.load(file).module()(raw_inputs)`` gives logits (N, C) float32.

    The program takes raw inputs on the CPU, in any number of rows >= 1, and needs torch alone. Before it appears it is
    loaded again from memory and compared with the model, in batches of 1 and of 7.

    Args:
        model: on the CPU; exported in evaluation mode, which is then put back.
        input: what a row looks like.
        file: its folder exists.

    Raises:
        RuntimeError: the program's logits differ from the model's by more than 1e-4.
    """
    was_training = model.training
    model.eval()
    try:
        program = _program(model, input)
        write_whole(file, lambda part: _save_checked(program, part, model, input))
    finally:
        model.train(was_training)


def check_exportable(model: Classifier, input: InputSpec) -> None:
    """Try the export and write nothing: its way through the model doesn't depend on the weights.

    Args:
        model: on the CPU; tried in evaluation mode, which is then put back.
        input: what a row looks like.

    Raises:
        RuntimeError: with what torch.export said.
    """
    was_training = model.training
    model.eval()
    try:
        _program(model, input)
    except Exception as error:  # torch.export raises whatever its parts raise
        raise RuntimeError(" ".join(str(error).split())[:300] or type(error).__name__) from error
    finally:
        model.train(was_training)


def _program(model: Classifier, taken: InputSpec) -> torch.export.ExportedProgram:
    rows = torch.export.Dim("rows", min=1)
    with torch.no_grad():
        return torch.export.export(model, (example_input(taken, 3),), dynamic_shapes=({0: rows},))


def _save_checked(program: torch.export.ExportedProgram, part: Path, model: Classifier, taken: InputSpec) -> None:
    # what is compared is what is written: no program is ever loaded from a file, where somebody else may have put one
    saved = io.BytesIO()
    torch.export.save(program, saved)
    saved.seek(0)
    loaded = torch.export.load(saved).module()
    for num_rows in (1, 7):
        inputs = example_input(taken, num_rows)
        with torch.no_grad():
            gap = _greatest_gap(loaded(inputs), model(inputs))
        if not gap <= TOLERANCE:
            raise RuntimeError(f"the exported program's logits differ from the model's by {gap}, more than {TOLERANCE}")
    part.write_bytes(saved.getvalue())


def _greatest_gap(first_NC: Tensor, second_NC: Tensor) -> float:
    return float((first_NC - second_NC).abs().max())
