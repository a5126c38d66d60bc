"""Hostile files: none is taken for weights, data, a tokenizer or a model; none runs code, fills the memory, or blocks."""

import json
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from distill.contracts.models import TransformersModel
from distill.science.models import build
from tests.hostile.corpus import CANARY, HostileFile, Touch, honest_safetensors
from tests.hostile.data_files import FILES, IMAGES, LABELS, LINES, ROWS, TEXT, npy, npz, parquet, picture, png, texts
from tests.hostile.model_files import MODEL_FILES, honest
from tests.hostile.reader import INPUT, VIT


def saved_folder(at: Path) -> None:
    """As save_pretrained writes it."""
    spec = TransformersModel(source="transformers", model_type="vit", config=VIT)
    build(spec, input=INPUT, num_classes=2).net.save_pretrained(at / "given")


MOST_BYTES = 96 << 20
"""By which reading one may let the process grow: eight times what the reader's settings give to a split, and some more."""

HONEST = (
    HostileFile("weights", lambda at: (at / "given").write_bytes(honest_safetensors(**honest()))),
    HostileFile("an .npz", npz(inputs=npy(ROWS), labels=npy(LABELS)), {"source": "npz"}, "data"),
    HostileFile("safetensors", lambda at: (at / "given").write_bytes(honest_safetensors(inputs=ROWS, labels=LABELS)),
                {"source": "safetensors"}, "data"),
    HostileFile("Parquet", parquet({"inputs": [[1.0, 2.0]] * 16, "labels": [0, 1] * 8}), {"source": "parquet"}, "data"),
    HostileFile("an image folder", picture(png(8, 8, (b"\0" + bytes(8)) * 8)), IMAGES, "data"),
    HostileFile("a folder of the transformers library", saved_folder, {}, "folder"),
    HostileFile("texts", texts(LINES), TEXT, "data", "given.csv"),
)  # fmt: skip
"""What the same readers take: a refusal of what is hostile says something."""


def readings(cases: Sequence[HostileFile], folder: Path) -> Mapping[str, Any]:
    """What came of each, read one after the other by a process of its own; honest ones first, so that all is imported."""
    asked = []
    for number, case in enumerate((*HONEST, *cases)):
        root = folder / str(number) / "root"
        root.mkdir(parents=True)
        case.lay(root)
        asked.append(
            {"what": case.what, "reader": case.reader, "root": str(root), "path": case.path, "spec": dict(case.spec)}
        )
    (folder / "cases.json").write_text(json.dumps(asked))
    command = [sys.executable, "-m", "tests.hostile.reader", str(folder / "cases.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(said) == len(asked), (
        f"the reader ended with {done.returncode} after {len(said)} of {len(asked)}: {done.stderr[-2000:]}"
    )
    return {one["what"]: one | {"folder": folder / str(number)} for number, one in enumerate(said)}


@pytest.fixture(scope="module")
def of_files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    return readings((*MODEL_FILES, *FILES), tmp_path_factory.mktemp("hostile"))


def test_the_pickle_of_the_cases_would_run(tmp_path: Path):
    canary = tmp_path / CANARY
    pickle.loads(pickle.dumps(Touch(canary)))  # noqa: S301 - it is what the cases are made of
    assert canary.is_dir()


@pytest.mark.parametrize("case", HONEST, ids=lambda case: case.what)
def test_an_honest_file_is_read(of_files: Mapping[str, Any], case: HostileFile):
    assert of_files[case.what]["end"] == "accepted", of_files[case.what]


@pytest.mark.parametrize("case", [*MODEL_FILES, *FILES], ids=lambda case: case.what)
def test_nobody_reads(of_files: Mapping[str, Any], case: HostileFile):
    found = of_files[case.what]
    assert found["end"] == "refused", found
    assert found["code"] in {"invalid_data", "invalid_weights", "invalid_spec"}, found
    assert len(found["text"]) > 20
    assert not (found["folder"] / CANARY).exists()
    assert found["grown_bytes"] < MOST_BYTES, found


def test_no_case_is_told_twice():
    told = [case.what for case in (*HONEST, *MODEL_FILES, *FILES)]
    assert len(set(told)) == len(told)
