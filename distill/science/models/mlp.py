"""A multi-layer perceptron: hidden layers of any sizes, ReLU between them.

Shapes: N rows, H units, C classes.
"""

from torch import Tensor, nn


class Mlp(nn.Module):
    """Flattened rows through ``stages`` of linear, ReLU and dropout to a linear ``head``."""

    def __init__(self, num_features: int, num_classes: int, *, hidden: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        sizes = (num_features, *hidden)
        self.stem = nn.Flatten()
        self.stages = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout))
                for before, after in zip(sizes, hidden, strict=False)
            )
        )
        self.head = nn.Linear(sizes[-1], num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, C) of normalised rows (N, ...)."""
        hidden_NH = self.stages(self.stem(inputs))
        logits_NC: Tensor = self.head(hidden_NH)
        return logits_NC
