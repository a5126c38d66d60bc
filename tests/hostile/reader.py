"""``python -m tests.hostile.reader CASES``: reads hostile files as the service does, and says how each ended.

CASES is a JSON file with a list of {what, reader, root, path, spec}. A line of JSON comes out for each: what it was, whether
it was refused, with which code and words, and by how many bytes the memory of this process grew meanwhile.
"""

import json
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from distill.contracts.datasets import DatasetSpec
from distill.contracts.errors import StillhouseError
from distill.contracts.models import ImageInput, TransformersModel, ZooModel
from distill.contracts.settings import NodeSettings
from distill.science.datasets import load
from distill.science.datasets.idx import read_idx
from distill.science.datasets.paths import inside_root
from distill.science.models import build
from distill.science.models.pretrained import folder_config, load_folder
from distill.science.weights import load_model, load_weights
from tests.hostile.corpus import memory, reset_peak

DATASET_BYTES = 8 << 20
HUNG_S = 20
INPUT = ImageInput(channels=1, height=8, width=8, mean=(0.5,), std=(0.5,))
VIT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "patch_size": 4}


def weights(root: Path, path: str, _: Mapping[str, Any]) -> None:
    """As a student's `init_from`, or a teacher's member from a file: 64 -> 4 -> 2, an mlp."""
    file = inside_root(root, path, field="student.init_from.path")
    model = build(ZooModel.model_validate({"name": "mlp", "args": {"hidden": [4]}}), input=INPUT, num_classes=2)
    load_weights(model, file)


def card(root: Path, path: str, _: Mapping[str, Any]) -> None:
    """As a member that a job left: a folder with its card."""
    load_model(inside_root(root, path, field="members.0"))


def data(root: Path, path: str, spec: Mapping[str, Any]) -> None:
    """As a job's data."""
    settings = NodeSettings(
        redis_url="redis://nowhere",
        storage=root,
        data_root=root,
        cache=root.parent / "cache",
        dataset_bytes=DATASET_BYTES,
    )
    paths = {key: value.replace("{path}", path) for key, value in spec.items() if isinstance(value, str)}
    load(TypeAdapter(DatasetSpec).validate_python({"train": path} | dict(spec) | paths), settings)


def idx(root: Path, path: str, _: Mapping[str, Any]) -> None:
    """As a file of Fashion-MNIST."""
    read_idx(inside_root(root, path, field="dataset"), field="dataset")


def folder(root: Path, path: str, _: Mapping[str, Any]) -> None:
    """As a folder of the transformers library that a student starts from."""
    there = inside_root(root, path, field="student.init_from.path")
    config = VIT | folder_config(there, "vit")
    spec = TransformersModel(source="transformers", model_type="vit", config=config)
    load_folder(build(spec, input=INPUT, num_classes=2), there)


READERS: dict[str, Callable[[Path, str, Mapping[str, Any]], None]] = {
    "weights": weights, "card": card, "data": data, "idx": idx, "folder": folder,
}  # fmt: skip


def read(case: Mapping[str, Any]) -> dict[str, Any]:
    """Have it read once, and tell how that ended."""
    before = reset_peak()
    signal.alarm(HUNG_S)
    try:
        READERS[case["reader"]](Path(case["root"]), case["path"], case["spec"])
        end = {"end": "accepted"}
    except StillhouseError as error:
        end = {"end": "refused", "code": error.code, "text": error.message}
    except BaseException as error:  # whatever it is, the next case is read too
        end = {"end": f"crashed: {type(error).__name__}: {error}"[:500]}
    finally:
        signal.alarm(0)
    return {"what": case["what"], "grown_bytes": memory("VmHWM") - before, **end}


def _hung(*_: Any) -> None:
    raise TimeoutError(f"not read within {HUNG_S} s")


def main() -> None:
    """Read them all."""
    signal.signal(signal.SIGALRM, _hung)
    for case in json.loads(Path(sys.argv[1]).read_text()):
        print(json.dumps(read(case)), flush=True)


if __name__ == "__main__":
    main()
