"""Every model that a job can name, built from its spec: raw inputs in, logits out."""

from distill.contracts.models import InputSpec, ModelSpec, TransformersModel
from distill.science.models import transformers_models, zoo
from distill.science.models.classifier import Classifier

__all__ = ["Classifier", "build"]


def build(spec: ModelSpec, *, input: InputSpec, num_classes: int) -> Classifier:
    """Build a model with fresh random weights, drawn from torch's global generator.

    Args:
        spec: the architecture; a student's spec is accepted too (its ``init_from`` is the caller's to load).
        input: what a row looks like, and how it is normalised.
        num_classes: C, at least 1.

    Returns:
        A `Classifier` in training mode: raw inputs (N, ...) to logits (N, C) float32.

    Raises:
        InvalidSpec: the architecture doesn't take such an input, or its configuration is wrong.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, not {num_classes}")
    if isinstance(spec, TransformersModel):
        return transformers_models.build(spec, input=input, num_classes=num_classes)
    return zoo.build(spec, input=input, num_classes=num_classes)
