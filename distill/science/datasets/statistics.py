"""What a row looks like, and the mean and spread that a model normalises it with.

Shapes: N rows, C channels, F features, L tokens.
"""

import torch
from torch import Tensor

from distill.contracts.models import ImageInput, InputSpec, TokensInput, VectorInput

CHUNK_ROWS = 8192


def input_spec(inputs: Tensor, test_inputs: Tensor, train_rows: Tensor) -> InputSpec:
    """The input spec of these rows; mean and spread are of the training rows alone.

    Args:
        inputs: uint8 images (N, C, H, W), float32 vectors (N, F) or int64 token ids (N, L).
        test_inputs: the same kind of rows; a vocabulary must hold their tokens too.
        train_rows: row numbers, int64.

    Returns:
        A value that never varies gets a spread of 1. Spreads, and means of pixels, have six significant digits; means of
        vectors have twelve, for a mean may be much greater than its spread.
    """
    if inputs.dtype == torch.uint8:
        mean, std = _pixel_statistics(inputs, train_rows)
        _, channels, height, width = inputs.shape
        return ImageInput(channels=channels, height=height, width=width, mean=mean, std=std)
    if inputs.dtype == torch.int64:
        return TokensInput(length=inputs.shape[1], vocabulary=1 + int(max(inputs.max(), test_inputs.max())))
    chosen = inputs[train_rows].double()
    return VectorInput(
        features=inputs.shape[1],
        mean=_rounded(chosen.mean(dim=0), digits=12),
        std=_spread(chosen.std(dim=0, correction=0)),
    )


def _pixel_statistics(images: Tensor, rows: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of pixel / 255 for each channel: from exact counts of the 256 levels, so no order of summing matters."""
    counts = torch.zeros((images.shape[1], 256), dtype=torch.int64)
    for chunk in torch.split(rows, CHUNK_ROWS):
        chosen = images[chunk]
        for channel in range(images.shape[1]):
            counts[channel] += torch.bincount(chosen[:, channel].flatten(), minlength=256)
    share = counts.double() / counts.sum(dim=1, keepdim=True)  # (C, 256)
    level = torch.arange(256, dtype=torch.float64) / 255
    mean = (share * level).sum(dim=1)
    variance = (share * (level - mean[:, None]) ** 2).sum(dim=1)
    return _rounded(mean), _spread(variance.sqrt())


def _spread(std: Tensor) -> tuple[float, ...]:
    return tuple(value if value > 0 else 1.0 for value in _rounded(std))


def _rounded(values: Tensor, *, digits: int = 6) -> tuple[float, ...]:
    return tuple(float(f"{value:.{digits}g}") for value in values.tolist())
