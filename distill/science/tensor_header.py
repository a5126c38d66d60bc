"""What a safetensors file says that it holds, read and bounded before any library maps it into memory."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill.contracts.unique_keys import unique_keys

MAX_HEADER_BYTES = 4 << 20
"""Of some ten thousands of tensors; the format allows 100 MB, and a reader takes several times as much."""

DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64,
    "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64,
    "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


def read_tensor_header(file: Path) -> dict[str, Tensor]:
    """Name -> an empty tensor of the type and shape that the file claims, which takes no memory.

    Raises:
        ValueError: the header is longer than 4 MiB or than its file, is no JSON, says a name twice, or claims a type or
            shape that no tensor has. Where the tensors lie in the file is safetensors' own to check.
        OSError: the file can't be read.
    """
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        if size > MAX_HEADER_BYTES:
            raise ValueError(f"its header claims {size:,} bytes, more than the {MAX_HEADER_BYTES:,} that are read")
        header = opened.read(size)
    try:
        described = json.loads(header, object_pairs_hook=unique_keys)
    except RecursionError as error:
        raise ValueError("its header is nested deeper than any") from error
    if len(header) < size or not isinstance(described, dict):
        raise ValueError("its header is cut, or no JSON object")
    return {name: _claimed(name, entry) for name, entry in described.items() if name != "__metadata__"}


def _claimed(name: str, entry: Any) -> Tensor:
    try:
        return torch.empty(entry["shape"], dtype=DTYPES[entry["dtype"]], device="meta")
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError(f"'{name[:100]}' has a type or a shape that no tensor has") from error
