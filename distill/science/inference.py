"""A model's answers for many rows.

Shapes: N rows, C classes.
"""

import torch
from torch import Tensor

from distill.science.models import Classifier


def predict(model: Classifier, inputs: Tensor, *, batch_size: int = 1024, device: torch.device | str = "cpu") -> Tensor:
    """Logits (N, C) float32, on the CPU, of raw inputs (N, ...), in evaluation mode.

    Args:
        model: on ``device`` already; its mode is put back.
        inputs: at least one row; brought to ``device`` a batch at a time.
        batch_size: rows of one forward pass.

    Raises:
        ValueError: there are no rows.
    """
    if not len(inputs):
        raise ValueError("predict needs at least one row")
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            parts = [model(batch.to(device)).cpu() for batch in torch.split(inputs, batch_size)]
    finally:
        model.train(was_training)
    # a clone outside of inference mode: its tensors can't take part in autograd
    return torch.cat(parts).clone()
