"""EfficientNet-Lite0: inverted bottlenecks without squeeze-and-excitation, for small devices.

EfficientNet (Tan, Le, 2019, arXiv:1905.11946, table 1) with ReLU6 for swish, as its authors published it as
"EfficientNet-Lite". Stochastic depth, which they train with, is left out. Layers pad as TensorFlow's do ("SAME": an odd
pixel goes to the right and the bottom), so that their weights give their answers.

Shapes: N images, C classes.
"""

import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

STEM_CHANNELS, TOP_CHANNELS = 32, 1280

STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))  # fmt: skip
"""Blocks, kernel size, stride of the first block, expansion, channels."""


class EfficientNetLite(nn.Module):
    """A ``stem``, seven ``stages``, a ``top`` of 1,280 channels, a ``pool`` and a ``head``: 4.65M parameters for ImageNet.

    ``width`` channels in the first stage, 16 as published; the other stages keep their proportions to it.
    """

    def __init__(self, num_channels: int, num_classes: int, *, width: int, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Sequential(SamePadding(3, 2), *_normed(nn.Conv2d(num_channels, STEM_CHANNELS, 3, 2, bias=False)))
        stages, before = [], STEM_CHANNELS
        for num_blocks, kernel, stride, expansion, channels in STAGES:
            after = max(1, channels * width // 16)
            first = Bottleneck(before, after, kernel=kernel, stride=stride, expansion=expansion)
            rest = (
                Bottleneck(after, after, kernel=kernel, stride=1, expansion=expansion) for _ in range(1, num_blocks)
            )
            stages.append(nn.Sequential(first, *rest))
            before = after
        self.stages = nn.Sequential(*stages)
        self.top = nn.Sequential(*_normed(nn.Conv2d(before, TOP_CHANNELS, 1, bias=False)))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout))
        self.head = nn.Linear(TOP_CHANNELS, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C) of normalised images (N, channels, height, width)."""
        maps = self.top(self.stages(self.stem(images)))  # (N, 1280, height / 32, width / 32), rounded up
        logits_NC: Tensor = self.head(self.pool(maps))
        return logits_NC


class Bottleneck(nn.Module):
    """Widen by 1 x 1, convolve each channel alone, narrow by 1 x 1; the input is added where shapes allow."""

    def __init__(self, before: int, after: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.expand = nn.Sequential(*_normed(nn.Conv2d(before, wide, 1, bias=False)) if expansion > 1 else ())
        self.depthwise = nn.Sequential(
            SamePadding(kernel, stride), *_normed(nn.Conv2d(wide, wide, kernel, stride, groups=wide, bias=False))
        )
        self.project = nn.Sequential(*_normed(nn.Conv2d(wide, after, 1, bias=False))[:2])
        self.is_residual = stride == 1 and before == after

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, after, height / stride, width / stride), rounded up."""
        body: Tensor = self.project(self.depthwise(self.expand(maps)))
        return body + maps if self.is_residual else body


class SamePadding(nn.Module):
    """Zeros around the maps, so that a convolution gives size / stride, rounded up."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, maps: Tensor) -> Tensor:
        """Maps that are at most ``kernel - 1`` higher and wider."""
        down, right = (self._missing(size) for size in maps.shape[2:])
        return F.pad(maps, (right // 2, right - right // 2, down // 2, down - down // 2))

    def _missing(self, size: int) -> int:
        num_places = -(-size // self.stride)
        return max(0, (num_places - 1) * self.stride + self.kernel - size)


def _normed(convolution: nn.Conv2d) -> tuple[nn.Conv2d, nn.BatchNorm2d, nn.ReLU6]:
    return convolution, nn.BatchNorm2d(convolution.out_channels, eps=1e-3, momentum=0.01), nn.ReLU6()
