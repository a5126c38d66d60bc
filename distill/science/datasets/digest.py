"""The digest of a data set: of what was decoded, so that packing and file names don't matter."""

import hashlib
import json
from pathlib import Path

from torch import Tensor

from distill.science.datasets.raw import Raw, Split
from distill.science.files import write_whole


def dataset_digest(raw: Raw, cache: Path) -> str:
    """`raw_digest`, computed once for files whose sizes and times stay."""
    if not raw.files:
        return raw_digest(raw)
    remembered = cache / "digests" / f"{_state_of_files(raw)}.json"
    try:
        return str(json.loads(remembered.read_text())["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        digest = raw_digest(raw)
    remembered.parent.mkdir(parents=True, exist_ok=True)
    write_whole(remembered, lambda part: part.write_text(json.dumps({"digest": digest})))
    return digest


def raw_digest(raw: Raw) -> str:
    """``sha256:`` of the training split, and of its origin where it has one."""
    digest = split_digest(raw.train)
    if not raw.origin:
        return digest
    return "sha256:" + hashlib.sha256(f"{raw.origin}\n{digest}\n".encode()).hexdigest()


def split_digest(split: Split) -> str:
    """``sha256:`` of shape, type and bytes of inputs, then of labels."""
    total = hashlib.sha256()
    for tensor in (split.inputs, split.labels):
        total.update(f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}\n".encode())
        total.update(_bytes(tensor))
    return "sha256:" + total.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    values: memoryview = tensor.contiguous().numpy().data
    return values.cast("B")


def _state_of_files(raw: Raw) -> str:
    states = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in raw.files]
    return hashlib.sha256(json.dumps([raw.reading, states]).encode()).hexdigest()
