"""A plain convolutional net that one CPU core trains at thousands of images a second.

Shapes: N images, W channels, C classes.
"""

from torch import Tensor, nn


class Cnn(nn.Module):
    """Three ``stages`` of convolution, batch norm and ReLU, with W, 2W and 4W channels, and a ``head``.

    The first two halve the resolution by their stride: pooling at full resolution would cost a core more
    than all the rest. About 90 W^2 parameters: 14,000 at W = 12, 95,000 at W = 32.
    """

    def __init__(self, num_channels: int, num_classes: int, *, width: int, dropout: float) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            _stage(num_channels, width, kernel=5, stride=2),
            _stage(width, 2 * width, kernel=3, stride=2),
            _stage(2 * width, 4 * width, kernel=3, stride=1),
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout))
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C) of normalised images (N, channels, height, width)."""
        maps = self.stages(images)  # (N, 4W, height / 4, width / 4)
        logits_NC: Tensor = self.head(self.pool(maps))
        return logits_NC


def _stage(before: int, after: int, *, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )
