"""A net of the operator's own, for tests: what a plugin is."""

import math

from torch import nn

from distill.contracts.models import ImageInput


def net(input: ImageInput, num_classes: int, *, units: int) -> nn.Module:
    """Logits of normalised images."""
    pixels = math.prod((input.channels, input.height, input.width))
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, units), nn.ReLU(), nn.Linear(units, num_classes))
