"""Every model that a job can name, built from its spec: raw inputs in, logits out."""

from distill.contracts.models import HeadsSpec, InputSpec, ModelSpec, TransformersModel
from distill.science.models import transformers_models, zoo
from distill.science.models.classifier import Classifier
from distill.science.models.heads import ManyHeads

__all__ = ["Classifier", "ManyHeads", "build"]


def build(spec: ModelSpec, *, input: InputSpec, num_classes: int, heads: HeadsSpec | None = None) -> Classifier:
    """Build a model with fresh random weights, drawn from torch's global generator.

    Args:
        spec: the architecture; a student's spec is accepted too (its ``init_from`` is the caller's to load).
        input: what a row looks like, and how it is normalised.
        num_classes: C, at least 1.
        heads: several heads that are aggregated; left out: one.

    Returns:
        A `Classifier` in training mode: raw inputs (N, ...) to logits (N, C) float32.

    Raises:
        InvalidSpec: the architecture doesn't take such an input, or its configuration is wrong.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, not {num_classes}")
    if heads is not None:
        return ManyHeads(build(spec, input=input, num_classes=num_classes * len(heads.weights)), heads)
    if isinstance(spec, TransformersModel):
        return transformers_models.build(spec, input=input, num_classes=num_classes)
    return zoo.build(spec, input=input, num_classes=num_classes)
