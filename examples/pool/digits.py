"""What the examples of this folder train on: scikit-learn's digits, few of them with labels.

Shapes: N rows, M members of the teacher, C classes.
"""

from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

NO_LABEL = -1
NUM_LABELLED, NUM_TRAINED, BATCH_ROWS, EPOCHS = 50, 1400, 32, 20
TEMPERATURE = 4.0


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 8, 8) uint8, as the pool's own digits are, and labels (N,)."""

    images: Tensor
    labels: Tensor

    @classmethod
    def load(cls) -> tuple["Digits", "Digits"]:
        """Rows to train on, of which only the first fifty have a label, and rows to test on."""
        digits = load_digits()
        images = (torch.from_numpy(digits.images) * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
        labels = torch.from_numpy(digits.target).long()
        seen = labels[:NUM_TRAINED].clone()
        seen[NUM_LABELLED:] = NO_LABEL
        return cls(images[:NUM_TRAINED], seen), cls(images[NUM_TRAINED:], labels[NUM_TRAINED:])

    def batches(self, epoch: int) -> list[tuple[Tensor, Tensor]]:
        """Images and labels, in an order of their own in each epoch."""
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(epoch))
        return [(self.images[rows], self.labels[rows]) for rows in order.split(BATCH_ROWS)]


class Student(nn.Sequential):
    """Takes images as they are stored; 2,410 parameters."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C)."""
        logits_NC: Tensor = super().forward(images / 255 - 0.5)
        return logits_NC


def label_loss(logits_NC: Tensor, labels_N: Tensor) -> Tensor:
    """Cross-entropy, mean over the rows with a label; nothing where there is none."""
    summed = functional.cross_entropy(logits_NC, labels_N, ignore_index=NO_LABEL, reduction="sum")
    return summed / (labels_N != NO_LABEL).sum().clamp(min=1)


def soft_loss(logits_NC: Tensor, teacher_NMC: Tensor) -> Tensor:
    """KL(teacher || student) at a temperature, times its square (Hinton et al., 2015); members vote by their mean."""
    teacher_NC = (teacher_NMC.float() / TEMPERATURE).softmax(dim=-1).mean(dim=1)
    student_NC = (logits_NC / TEMPERATURE).log_softmax(dim=-1)
    return functional.kl_div(student_NC, teacher_NC, reduction="batchmean") * TEMPERATURE**2


def accuracy(student: nn.Module, rows: Digits) -> float:
    """Share of rows whose greatest logit is their label's."""
    with torch.no_grad():
        return float((student(rows.images).argmax(dim=1) == rows.labels).float().mean())
