"""Rows of noise in the shape that a model takes: for measuring and checking, where no data is at hand."""

import torch
from torch import Tensor

from distill.contracts.models import ImageInput, InputSpec, TokensInput


def example_input(input: InputSpec, batch: int) -> Tensor:
    """``batch`` rows as the model takes them, raw: always the same ones.

    Returns:
        uint8 (batch, channels, height, width), int64 (batch, length) or float32 (batch, features).
    """
    generator = torch.Generator().manual_seed(0)
    if isinstance(input, ImageInput):
        shape = (batch, input.channels, input.height, input.width)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    if isinstance(input, TokensInput):
        return torch.randint(0, input.vocabulary, (batch, input.length), generator=generator)
    return torch.randn((batch, input.features), generator=generator)
