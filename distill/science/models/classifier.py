"""A classifier takes raw inputs: normalisation is part of the model, so of every exported program too.

Shapes: N rows, C classes, F features, L tokens.
"""

import torch
from torch import Tensor, nn

from distill.contracts.errors import InvalidSpec
from distill.contracts.models import ImageInput, InputSpec, TokensInput, VectorInput


class Classifier(nn.Module):
    """``net`` behind its normalisation: raw inputs (N, ...) to logits (N, C) float32.

    Raw inputs are uint8 images (N, channels, height, width), float32 vectors (N, F) or int64 token ids (N, L).
    The weights of a classifier are the ``state_dict()`` of its ``net``, and names of taps are names in ``net``.
    """

    def __init__(self, net: nn.Module, *, input: InputSpec) -> None:
        super().__init__()
        self.normalise = _normalisation(input)
        self.net = net

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, C) float32 of raw inputs (N, ...)."""
        logits_NC: Tensor = self.net(self.normalise(inputs))
        return logits_NC.float()


class Normalisation(nn.Module):
    """``(value / unit - mean) / std`` for each channel, as one multiplication and one addition."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], *, unit: float, trailing_axes: int) -> None:
        super().__init__()
        shape = (1, len(mean)) + (1,) * trailing_axes
        mean_F, std_F = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
        # not persistent: they come from the input spec, so weights start a student on other data too
        self.register_buffer("scale", (1 / (unit * std_F)).float().reshape(shape), persistent=False)
        self.register_buffer("shift", (-mean_F / std_F).float().reshape(shape), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalised values, of the inputs' shape."""
        return inputs.to(self.scale.dtype) * self.scale + self.shift


def _normalisation(spec: InputSpec) -> nn.Module:
    if isinstance(spec, TokensInput):
        return nn.Identity()
    _check_statistics(spec, spec.channels if isinstance(spec, ImageInput) else spec.features)
    if isinstance(spec, ImageInput):
        return Normalisation(spec.mean, spec.std, unit=255.0, trailing_axes=2)
    return Normalisation(spec.mean, spec.std, unit=1.0, trailing_axes=0)


def _check_statistics(spec: ImageInput | VectorInput, num_values: int) -> None:
    for field, values in (("input.mean", spec.mean), ("input.std", spec.std)):
        if len(values) != num_values:
            raise InvalidSpec(
                f"{field} has {len(values)} values, and a row has {num_values} channels or features: give one for each",
                field=field,
                expected=f"{num_values} values",
                got=f"{len(values)} values",
            )
    if min(spec.std) <= 0:
        raise InvalidSpec(
            f"input.std holds {min(spec.std)}: each must be greater than 0 (1.0 where a value never varies)",
            field="input.std",
            expected="values > 0",
            got=str(min(spec.std)),
        )
