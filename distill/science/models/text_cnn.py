"""A convolutional net for sentences (Kim, 2014, arXiv:1408.5882), blind to padding.

Shapes: N rows, L tokens, W channels, K kernel sizes, C classes.
"""

import torch
from torch import Tensor, nn

KERNEL_SIZES = (3, 4, 5)


class TextCnn(nn.Module):
    """A ``stem`` of embeddings, parallel ``stages`` of windows of 3, 4 and 5 tokens, their maxima over time, a ``head``.

    Embeddings start random (his CNN-rand), between -0.25 and 0.25, and are as wide as the feature maps are many. Where he
    pads a sentence by so many zeros that every window fits, each window here has its place at one token, and sees zeros
    beyond the sentence. About (V + 12 W) W parameters with a vocabulary of V.
    """

    def __init__(self, vocabulary: int, num_classes: int, *, pad_id: int, width: int, dropout: float) -> None:
        super().__init__()
        self.pad_id = pad_id
        self.stem = nn.Embedding(vocabulary, width)
        nn.init.uniform_(self.stem.weight, -0.25, 0.25)
        self.stages = nn.ModuleList(_windows(width, size) for size in KERNEL_SIZES)
        self.pool = MaxOverTime()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(len(KERNEL_SIZES) * width, num_classes)

    def forward(self, tokens_NL: Tensor) -> Tensor:
        """Logits (N, C) of token ids (N, L) int64."""
        is_text_N1L = (tokens_NL != self.pad_id).unsqueeze(1)
        embedded_NWL = self.stem(tokens_NL).transpose(1, 2) * is_text_N1L
        maps_NKWL = torch.stack([stage(embedded_NWL) for stage in self.stages], dim=1)
        maxima = self.pool(maps_NKWL * is_text_N1L.unsqueeze(1))  # (N, K W)
        logits_NC: Tensor = self.head(self.dropout(maxima))
        return logits_NC


class MaxOverTime(nn.Module):
    """The greatest value of each feature map, none of which is below zero: so a map set to zero at padding ignores it."""

    def forward(self, maps_NKWL: Tensor) -> Tensor:
        """Maxima (N, K W); zeros for a row of nothing but padding."""
        return maps_NKWL.amax(dim=3).flatten(1)


def _windows(width: int, size: int) -> nn.Sequential:
    before = (size - 1) // 2
    return nn.Sequential(nn.ConstantPad1d((before, size - 1 - before), 0.0), nn.Conv1d(width, width, size), nn.ReLU())
