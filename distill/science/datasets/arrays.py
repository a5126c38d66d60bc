"""The user's arrays: ``.npz`` and safetensors files, read without ever unpickling."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from distill.contracts.datasets import ArrayData
from distill.science.datasets.raw import Raw, Split, checked_split, invalid, numbered_classes
from distill.science.datasets.splits import read_splits


def load_arrays(spec: ArrayData, root: Path) -> Raw:
    """The splits of one or two files below ``root``.

    Raises:
        InvalidData: a path leads out of the root, a file is torn, an array is missing or no model takes it.
    """
    train, test, files = read_splits(spec, root, lambda file, field: _split(spec, file, field))
    return Raw(
        train=train,
        test=test,
        classes=numbered_classes(spec.classes, train, test),
        files=files,
        reading=f"{spec.source} {spec.input_array} {spec.label_array}",
    )


def _split(spec: ArrayData, file: Path, field: str) -> Split:
    if not file.is_file():
        raise invalid(field, f"'{file.name}' is not a file", expected=f"a {spec.source} file", got="a folder")
    read = _read_npz if spec.source == "npz" else _read_safetensors
    arrays = read(file, (spec.input_array, spec.label_array), field)
    # 'label_array' may be missing unless the job file itself says that name
    required = {spec.input_array} | ({spec.label_array} if "label_array" in spec.model_fields_set else set())
    if missing := sorted(required - arrays.keys()):
        raise invalid(
            field,
            f"'{file.name}' has no array '{missing[0]}'",
            expected=" and ".join(sorted(required)),
            got=", ".join(_names(file, spec.source)) or "no arrays",
        )
    return checked_split(arrays[spec.input_array], arrays.get(spec.label_array), field=field)


def _read_npz(file: Path, names: tuple[str, ...], field: str) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(file) as archive:
            there = {name.removesuffix(".npy") for name in archive.namelist()}
        with np.load(file, allow_pickle=False) as arrays:
            return {name: _tensor(arrays[name], name, field) for name in names if name in there}
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        # RuntimeError: encrypted, or packed by a method that Python doesn't know
        raise invalid(
            field,
            f"'{file.name}' is torn, or not an .npz file of plain arrays ({error})",
            hint="write it with numpy.savez, without arrays of objects",
        ) from error


def _read_safetensors(file: Path, names: tuple[str, ...], field: str) -> dict[str, Tensor]:
    try:
        with safetensors.safe_open(file, framework="pt") as tensors:
            return {name: tensors.get_tensor(name) for name in names if name in tensors.keys()}  # noqa: SIM118 - no mapping
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise invalid(field, f"'{file.name}' is torn, or not a safetensors file ({error})") from error


def _names(file: Path, source: str) -> list[str]:
    if source == "npz":
        with zipfile.ZipFile(file) as archive:
            return sorted(name.removesuffix(".npy") for name in archive.namelist())
    with safetensors.safe_open(file, framework="pt") as tensors:
        return sorted(tensors.keys())


def _tensor(array: np.ndarray[Any, Any] | bytes, name: str, field: str) -> Tensor:
    if isinstance(array, bytes):  # what numpy gives for a member that is no array
        raise invalid(field, f"array '{name}' is torn, or not an array at all")
    if array.dtype.kind not in "iuf":
        raise invalid(field, f"array '{name}' holds no numbers", expected="integers or floats", got=str(array.dtype))
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        return torch.from_numpy(array.astype(np.int64))
    if array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    return torch.from_numpy(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))
