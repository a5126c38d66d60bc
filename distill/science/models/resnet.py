"""ResNets for small images: three stages of basic blocks (He, Zhang, Ren, Sun, 2015, arXiv:1512.03385, section 4.2).

Shortcuts that change shape are 1 x 1 convolutions, as in the distillation literature (Tian, Krishnan, Isola, 2019,
arXiv:1910.10699), where He et al. pad with zeros: a few thousand parameters more.

ReLUs are not in place, here and in the other nets: a tap before one must keep what it saw.

Shapes: N images, W channels, C classes.
"""

from torch import Tensor, nn


class ResNet(nn.Module):
    """``depth`` = 6 n + 2 layers: a ``stem``, three ``stages`` of n blocks with W, 2W and 4W channels, a ``head``."""

    def __init__(
        self, num_channels: int, num_classes: int, *, depth: int, stem: int, width: int, dropout: float
    ) -> None:
        super().__init__()
        num_blocks = (depth - 2) // 6
        self.stem = nn.Sequential(_convolution(num_channels, stem), nn.BatchNorm2d(stem), nn.ReLU())
        self.stages = nn.Sequential(
            _stage(stem, width, num_blocks, stride=1),
            _stage(width, 2 * width, num_blocks, stride=2),
            _stage(2 * width, 4 * width, num_blocks, stride=2),
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout))
        self.head = nn.Linear(4 * width, num_classes)
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C) of normalised images (N, channels, height, width)."""
        maps = self.stages(self.stem(images))  # (N, 4W, height / 4, width / 4)
        logits_NC: Tensor = self.head(self.pool(maps))
        return logits_NC


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(before, after, stride=stride),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            _convolution(after, after),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))
        self.activation = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, after, height / stride, width / stride)."""
        out: Tensor = self.activation(self.body(maps) + self.shortcut(maps))
        return out


def _stage(before: int, after: int, num_blocks: int, *, stride: int) -> nn.Sequential:
    first = BasicBlock(before, after, stride=stride)
    return nn.Sequential(first, *(BasicBlock(after, after, stride=1) for _ in range(num_blocks - 1)))


def _convolution(before: int, after: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)


def _initialise(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
