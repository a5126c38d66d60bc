"""Wide ResNets: three stages of pre-activation blocks (Zagoruyko, Komodakis, 2016, arXiv:1605.07146).

Shapes: N images, W channels, C classes.
"""

from torch import Tensor, nn

NUM_STEM_CHANNELS = 16


class WideResNet(nn.Module):
    """``depth`` = 6 n + 4 layers: a ``stem``, three ``stages`` of n blocks with W, 2W and 4W channels, a ``head``."""

    def __init__(self, num_channels: int, num_classes: int, *, depth: int, width: int, dropout: float) -> None:
        super().__init__()
        num_blocks = (depth - 4) // 6
        self.stem = _convolution(num_channels, NUM_STEM_CHANNELS)
        self.stages = nn.Sequential(
            _stage(NUM_STEM_CHANNELS, width, num_blocks, stride=1, dropout=dropout),
            _stage(width, 2 * width, num_blocks, stride=2, dropout=dropout),
            _stage(2 * width, 4 * width, num_blocks, stride=2, dropout=dropout),
        )
        self.pool = nn.Sequential(nn.BatchNorm2d(4 * width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4 * width, num_classes)
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C) of normalised images (N, channels, height, width)."""
        maps = self.stages(self.stem(images))  # (N, 4W, height / 4, width / 4)
        logits_NC: Tensor = self.head(self.pool(maps))
        return logits_NC


class WideBlock(nn.Module):
    """Batch norm and ReLU before each of two 3 x 3 convolutions, beside a shortcut."""

    def __init__(self, before: int, after: int, *, stride: int, dropout: float) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU())
        self.body = nn.Sequential(
            _convolution(before, after, stride=stride),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Dropout(dropout),
            _convolution(after, after),
        )
        self.shortcut = None if before == after else nn.Conv2d(before, after, 1, stride=stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, after, height / stride, width / stride)."""
        active = self.activation(maps)
        # a shortcut that changes shape starts from the activated maps, an identity from the raw ones
        shortcut: Tensor = maps if self.shortcut is None else self.shortcut(active)
        body: Tensor = self.body(active)
        return body + shortcut


def _stage(before: int, after: int, num_blocks: int, *, stride: int, dropout: float) -> nn.Sequential:
    first = WideBlock(before, after, stride=stride, dropout=dropout)
    rest = (WideBlock(after, after, stride=1, dropout=dropout) for _ in range(num_blocks - 1))
    return nn.Sequential(first, *rest)


def _convolution(before: int, after: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)


def _initialise(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
