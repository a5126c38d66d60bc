"""IDX files, plain or gzipped: the format of MNIST and its relatives (http://yann.lecun.com/exdb/mnist)."""

import gzip
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

from distill.science.datasets.raw import invalid

MOST_BYTES = 1 << 26
"""The largest file of Fashion-MNIST has 47 MB; of a longer one no more is read, and it counts as torn."""

CHUNK_BYTES = 1 << 20


def read_idx(path: Path, *, field: str) -> Tensor:
    """The uint8 array of an IDX file.

    Raises:
        InvalidData: the file is torn, or isn't IDX with unsigned bytes.
    """
    content = decoded(path, field=field)
    num_axes = content[3] if content[:3] == b"\x00\x00\x08" else 0
    start = 4 + 4 * num_axes
    if not num_axes or len(content) < start:
        raise invalid(
            field, f"{path.name} is not an IDX file of bytes", expected="a start of 00 00 08", got=content[:4].hex(" ")
        )
    shape = [int.from_bytes(content[place : place + 4], "big") for place in range(4, start, 4)]
    if len(content) - start != math.prod(shape):
        raise invalid(
            field,
            f"{path.name} is torn",
            expected=f"{math.prod(shape)} bytes for the shape {tuple(shape)}",
            got=f"{len(content) - start} bytes",
        )
    return torch.frombuffer(content, dtype=torch.uint8, offset=start).reshape(shape)


def decoded(path: Path, *, field: str) -> bytearray:
    """The bytes of a file, unpacked if it is gzipped.

    Raises:
        InvalidData: it can't be read, or its compression is torn.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as content:
            read = bytearray()
            while len(read) < MOST_BYTES and (chunk := content.read(CHUNK_BYTES)):
                read += chunk
            return read
    except (OSError, EOFError, zlib.error) as error:
        raise invalid(field, f"{path.name} can't be read, or is torn: {error}") from error
