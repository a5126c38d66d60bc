"""Views: what augmentation makes of a row, the same for ever for one (seed, row, view).

Shapes: N rows, C channels, H height, W width.
"""

import torch
from torch import Tensor

from distill.contracts.datasets import Augmentation, CropFlip

# the constants of splitmix64 (Steele, Lea, Flood, 2014), as the signed 64-bit numbers that torch computes with
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))


def augment(inputs: Tensor, rows: Tensor, *, view: int | Tensor, spec: Augmentation) -> Tensor:
    """View ``view`` of these rows.

    Args:
        inputs: uint8 images (N, C, H, W); anything where the policy is ``none``.
        rows: each row's number in the data set, (N,) int64: with ``spec.seed`` and ``view`` it decides everything,
            so a row looks the same whatever its batch.
        view: from 0; of all rows, or of each, (N,) int64.
        spec: ``crop-flip`` pads by an eighth of the larger side (at least one pixel) with zeros, crops back at random,
            and mirrors half of the rows.

    Returns:
        Images like ``inputs``; the very same tensor where the policy is ``none``.

    Raises:
        ValueError: crop-flip of what is no uint8 image, or rows that don't fit.

    Source:
        He, Zhang, Ren, Sun (2015), arXiv:1512.03385, section 4.2: 4 pixels of 32.
    """
    if not isinstance(spec, CropFlip):
        return inputs
    if inputs.dim() != 4 or inputs.dtype != torch.uint8 or rows.shape != inputs.shape[:1]:
        raise ValueError(
            f"crop-flip takes uint8 images (N, C, H, W) and their N row numbers, "
            f"not {inputs.dtype} {tuple(inputs.shape)} and {tuple(rows.shape)}"
        )
    rows = rows.to(inputs.device)
    padding = crop_padding(inputs.shape[2], inputs.shape[3])
    span = 2 * padding + 1
    down_N, right_N, mirror_N = (random_numbers(rows, view=view, seed=spec.seed, draw=draw) for draw in range(3))
    flip_N = (mirror_N % 2 == 1) & spec.flip
    return _crop(inputs, down_N % span - padding, right_N % span - padding, flip_N)


def crop_padding(height: int, width: int) -> int:
    """Pixels by which a crop may shift: an eighth of the larger side, at least one."""
    return max(1, max(height, width) // 8)


def random_numbers(rows: Tensor, *, view: int | Tensor, seed: int, draw: int) -> Tensor:
    """Well-mixed numbers in [0, 2^32), (N,) int64: a hash of (seed, row, view, draw)."""
    hashed_N = torch.zeros_like(rows, dtype=torch.int64)
    for part in (seed, view, draw, rows.long()):
        hashed_N = _mixed(hashed_N + part)
    return hashed_N & 0xFFFFFFFF


def _mixed(values_N: Tensor) -> Tensor:
    """One step of splitmix64; 64-bit multiplication wraps, as its authors mean it to."""
    values_N = values_N + _GOLDEN
    values_N = (values_N ^ _shifted(values_N, 30)) * _MIX[0]
    values_N = (values_N ^ _shifted(values_N, 27)) * _MIX[1]
    return values_N ^ _shifted(values_N, 31)


def _shifted(values_N: Tensor, bits: int) -> Tensor:
    # torch shifts signed numbers arithmetically: the copies of the sign are masked away
    return (values_N >> bits) & ((1 << (64 - bits)) - 1)


def _crop(images: Tensor, down_N: Tensor, right_N: Tensor, flip_N: Tensor) -> Tensor:
    """Pixel (y, x) of the result is pixel (y + down, x + right) of the image, mirrored if told; outside is zero."""
    num_rows, _, height, width = images.shape
    y_NH = torch.arange(height, device=images.device)[None, :] + down_N[:, None]
    x_NW = torch.arange(width, device=images.device)[None, :] + right_N[:, None]
    x_NW = torch.where(flip_N[:, None], x_NW.flip(1), x_NW)
    inside_NHW = _within(y_NH, height)[:, :, None] & _within(x_NW, width)[:, None, :]
    place_N = torch.arange(num_rows, device=images.device)[:, None, None]
    y_NH1, x_N1W = y_NH.clamp(0, height - 1)[:, :, None], x_NW.clamp(0, width - 1)[:, None, :]
    cropped_NHWC = images.permute(0, 2, 3, 1)[place_N, y_NH1, x_N1W]
    return (cropped_NHWC * inside_NHW[..., None]).permute(0, 3, 1, 2).contiguous()


def _within(position: Tensor, size: int) -> Tensor:
    return (position >= 0) & (position < size)
