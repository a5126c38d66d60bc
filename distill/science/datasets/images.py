"""Encoded images to uint8 tensors.

Shapes: C channels, H height, W width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from distill.science.datasets.raw import invalid

FORMATS = ("PNG", "JPEG")
GREY = frozenset({"1", "L", "I", "I;16", "I;16B"})
"""Pillow's modes of images without colour."""


def num_channels(file: Path | BinaryIO, *, name: str, field: str) -> int:
    """1 for a grey image, 3 for one in colour; only its header is read.

    Raises:
        InvalidData: as `read_image`.
    """
    with _opened(file, name, field) as image:
        return 1 if image.mode in GREY else 3


def read_image(file: Path | BinaryIO, *, channels: int, size: tuple[int, int] | None, name: str, field: str) -> Tensor:
    """One image, (C, H, W) uint8.

    Args:
        file: a PNG or JPEG.
        channels: 1 for grey or 3 for colour, whatever the image has.
        size: height and width to resize to, bilinearly; None leaves the image's own.
        name: what errors call the image.
        field: the place in the job file that errors name.

    Raises:
        InvalidData: the image is torn, too large to be honest, or neither PNG nor JPEG.
    """
    with _opened(file, name, field) as image:
        pixels = _in_8_bits(image).convert("L" if channels == 1 else "RGB")
    if size is not None and pixels.size != (size[1], size[0]):
        pixels = pixels.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    array = torch.from_numpy(np.array(pixels, dtype=np.uint8))  # (H, W) or (H, W, 3)
    return array.unsqueeze(0) if array.dim() == 2 else array.permute(2, 0, 1)


@contextmanager
def _opened(file: Path | BinaryIO, name: str, field: str) -> Iterator[Image.Image]:
    try:
        with Image.open(file, formats=FORMATS) as image:
            yield image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise invalid(field, f"{name} is torn, or neither PNG nor JPEG ({error})") from error


def _in_8_bits(image: Image.Image) -> Image.Image:
    """16 bits of grey by their high byte, as Pillow reads 16 bits of colour; its own conversion of grey clips at 255."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
