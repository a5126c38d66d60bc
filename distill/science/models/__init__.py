"""Every model that a job can name, built from its spec: raw inputs in, logits out."""

from collections.abc import Collection

from distill.contracts.models import HeadsSpec, InputSpec, ModelSpec, PluginModel, TransformersModel
from distill.science.models import plugin, transformers_models, zoo
from distill.science.models.classifier import Classifier
from distill.science.models.heads import ManyHeads

__all__ = ["Classifier", "ManyHeads", "build"]


def build(
    spec: ModelSpec,
    *,
    input: InputSpec,
    num_classes: int,
    heads: HeadsSpec | None = None,
    plugins: Collection[str] = (),
) -> Classifier:
    """Build a model with fresh random weights, drawn from torch's global generator.

    Args:
        spec: the architecture; a student's spec is accepted too (its ``init_from`` is the caller's to load).
        input: what a row looks like, and how it is normalised.
        num_classes: C, at least 1.
        heads: several heads that are aggregated; left out: one.
        plugins: the import paths that the operator allows.

    Returns:
        A `Classifier` in training mode: raw inputs (N, ...) to logits (N, C) float32.

    Raises:
        InvalidSpec: the architecture doesn't take such an input, its configuration is wrong, or it is a plugin not allowed.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, not {num_classes}")
    if heads is not None:
        num_logits = num_classes * len(heads.weights)
        return ManyHeads(build(spec, input=input, num_classes=num_logits, plugins=plugins), heads)
    if isinstance(spec, TransformersModel):
        return transformers_models.build(spec, input=input, num_classes=num_classes)
    if isinstance(spec, PluginModel):
        return plugin.build(spec, input=input, num_classes=num_classes, allowed=plugins)
    return zoo.build(spec, input=input, num_classes=num_classes)
