"""The user's arrays: ``.npz`` and safetensors files, read without ever unpickling."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from distill.contracts.datasets import ArrayData
from distill.contracts.errors import InvalidData
from distill.science.datasets.raw import Raw, Split, check_fits, checked_split, invalid, numbered_classes
from distill.science.datasets.splits import read_splits
from distill.science.tensor_header import read_tensor_header


def load_arrays(spec: ArrayData, root: Path, *, most_bytes: int) -> Raw:
    """The splits of one or two files below ``root``, each of at most ``most_bytes`` when unpacked.

    Raises:
        InvalidData: a path leads out of the root, a file is torn, an array is missing or no model takes it.
    """
    train, test, files = read_splits(
        spec, root, lambda file, field: _split(spec, file, field, most_bytes), most_bytes=most_bytes
    )
    return Raw(
        train=train,
        test=test,
        classes=numbered_classes(spec.classes, train, test),
        files=files,
        reading=f"{spec.source} {spec.input_array} {spec.label_array}",
    )


def _split(spec: ArrayData, file: Path, field: str, most_bytes: int) -> Split:
    named = (spec.input_array, spec.label_array)
    is_npz = spec.source == "npz"
    arrays = _read_npz(file, named, field, most_bytes) if is_npz else _read_safetensors(file, named, field)
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


def _read_npz(file: Path, names: tuple[str, ...], field: str, most_bytes: int) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(file) as archive:
            there = _sizes(archive)
        unpacked = sum(there.get(name, 0) for name in set(names))
        check_fits(unpacked, most_bytes, field=field, what=f"what '{file.name}' holds")
        with np.load(file, allow_pickle=False) as arrays:
            return {name: _tensor(arrays[name], name, field) for name in names if name in there}
    except InvalidData:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many kinds of error over a lie about a shape
        raise invalid(
            field,
            f"'{file.name}' is torn, or not an .npz file of plain arrays ({error})",
            hint="write it with numpy.savez, without arrays of objects",
        ) from error


def _sizes(archive: zipfile.ZipFile) -> dict[str, int]:
    """Array -> its bytes when unpacked, which zipfile reads no further than.

    Raises:
        ValueError: a name stands twice: which of them is meant can't be told.
    """
    sizes = {entry.filename.removesuffix(".npy"): entry.file_size for entry in archive.infolist()}
    if len(sizes) < len(archive.infolist()):
        raise ValueError("it holds two arrays of one name")
    return sizes


def _read_safetensors(file: Path, names: tuple[str, ...], field: str) -> dict[str, Tensor]:
    try:
        read_tensor_header(file)
        with safetensors.safe_open(file, framework="pt") as tensors:
            return {name: tensors.get_tensor(name) for name in names if name in tensors.keys()}  # noqa: SIM118 - no mapping
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError) as error:
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
