"""What a training leaves, as comparable pieces: every tensor, figure and prediction by name; only clocks and counts are left out.

Windows that were asked ahead are asked again after a cut, so how often teachers were asked is no matter of bits.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from student_worker.checkpoints import STATE_FILE

Left = Mapping[str, str]
"""Name -> content, to the last bit."""

CLOCKS = frozenset({"seconds", "rows_per_s", "teacher_rows", "teacher_rows_recalled", "teacher_wait_s"})
PLACES = frozenset({"path", "job", "attempt"})
OF_THE_RESULT = ("quality", "selected", "last", "agreement", "teachers", "ensemble", "curve", "steps", "snapshots")


def left_by(checkpoint: Path, result: Path) -> Left:
    """Of the last checkpoint (everything that is trained, its optimiser, schedule, curve) and of the result beside it."""
    said = json.loads(result.read_text())
    return dict(
        [
            *_tensors("checkpoint", checkpoint),
            *_numbers("state", json.loads((checkpoint / STATE_FILE).read_text())),
            *_tensors("artifacts", result.parent / "artifacts"),
            *_numbers("predictions", json.loads((result.parent / "predictions.json").read_text())),
            *_numbers("result", {name: said[name] for name in OF_THE_RESULT}),
        ]
    )


def differing(one: Left, other: Left) -> list[str]:
    """Names of what is not the same, or not there, in both."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _tensors(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    for file in sorted(folder.glob("*.safetensors")):
        for key, tensor in load_file(file).items():
            yield f"{name}.{file.stem}: {key}", f"{tensor.dtype} {tensor.numpy().tobytes().hex()}"


def _numbers(name: str, content: Any) -> Iterator[tuple[str, str]]:
    if isinstance(content, dict):
        for key, value in content.items():
            if key not in CLOCKS | PLACES:
                yield from _numbers(f"{name}.{key}", value)
    elif isinstance(content, list):
        for place, value in enumerate(content):
            yield from _numbers(f"{name}.{place}", value)
    else:
        yield name, json.dumps(content)
