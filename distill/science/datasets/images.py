"""Encoded images to uint8 tensors.

Shapes: C channels, H height, W width.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from distill.science.datasets.raw import invalid

FORMATS = ("PNG", "JPEG")


def read_image(
    file: Path | BinaryIO, *, channels: int | None, size: tuple[int, int] | None, name: str, field: str
) -> Tensor:
    """One image, (C, H, W) uint8.

    Args:
        file: a PNG or JPEG.
        channels: 1 for grey or 3 for colour; None takes what the image has.
        size: height and width to resize to, bilinearly; None leaves the image's own.
        name: what errors call the image.
        field: the place in the job file that errors name.

    Raises:
        InvalidData: the image is torn, too large to be honest, or neither PNG nor JPEG.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            mode = {1: "L", 3: "RGB", None: "L" if image.mode in {"1", "L", "I;16"} else "RGB"}[channels]
            pixels = image.convert(mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise invalid(field, f"{name} is torn, or neither PNG nor JPEG ({error})") from error
    if size is not None and pixels.size != (size[1], size[0]):
        pixels = pixels.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    array = torch.from_numpy(np.array(pixels, dtype=np.uint8))  # (H, W) or (H, W, 3)
    return array.unsqueeze(0) if array.dim() == 2 else array.permute(2, 0, 1)
