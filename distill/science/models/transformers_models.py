"""Models of the transformers library, from a configuration alone: nothing is fetched, nothing unpickled.

Shapes: N rows, C classes, L tokens.
"""

from typing import Any

import torch
from torch import Tensor, nn

from distill.contracts.errors import InvalidSpec
from distill.contracts.models import ImageInput, InputSpec, TokensInput, TransformersModel
from distill.science.inputs import example_input
from distill.science.models.classifier import Classifier

FETCHING_KEYS = frozenset(
    {"auto_map", "backbone", "backbone_config", "backbone_kwargs", "name_or_path", "trust_remote_code",
     "use_pretrained_backbone", "use_timm_backbone"}
)  # fmt: skip
"""They fetch something, or run the code of others."""

OUR_KEYS = frozenset({"dtype", "id2label", "label2id", "quantization_config", "torch_dtype"})
"""They say what the job file says elsewhere: the precision, the classes."""

ATTENTIONS = frozenset({"eager", "sdpa"})


class ImageTransformer(Classifier):
    """A transformers image classifier behind the normalisation of its images."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, C) float32 of uint8 images (N, channels, height, width)."""
        logits_NC: Tensor = self.net(pixel_values=self.normalise(inputs)).logits
        return logits_NC.float()


class TextTransformer(Classifier):
    """A transformers sequence classifier that doesn't attend to padding."""

    def __init__(self, net: nn.Module, *, input: TokensInput) -> None:
        super().__init__(net, input=input)
        self.pad_id = input.pad_id

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, C) float32 of token ids (N, L) int64."""
        mask_NL = (inputs != self.pad_id).long()
        logits_NC: Tensor = self.net(input_ids=inputs, attention_mask=mask_NL).logits
        return logits_NC.float()


def build(spec: TransformersModel, *, input: InputSpec, num_classes: int) -> Classifier:
    """Build a classifier for images or tokens, and try it once on a row of noise.

    Raises:
        InvalidSpec: no such model type, a key that it doesn't have, or a configuration that can't be built.
    """
    import transformers

    if not isinstance(input, ImageInput | TokensInput):
        raise _wrong(f"a transformers model takes images or tokens, and a row of this data is a {input.kind}")
    config = _configuration(spec, {**_from_input(input), "num_labels": num_classes})
    try:
        if isinstance(input, ImageInput):
            model: Classifier = ImageTransformer(
                transformers.AutoModelForImageClassification.from_config(config), input=input
            )
        else:
            _check_length(config, input.length)
            model = TextTransformer(transformers.AutoModelForSequenceClassification.from_config(config), input=input)
        _try_once(model, example_input(input, 1), num_classes)
    except InvalidSpec:
        raise
    except Exception as error:  # the library raises whatever its parts raise
        raise _wrong(f"a {spec.model_type} can't be built from this configuration: {_said(error)}") from error
    return model.train()


def _check_length(config: Any, num_tokens: int) -> None:
    most = getattr(config, "max_position_embeddings", num_tokens)
    if 0 <= most < num_tokens:  # XLNet says -1: as long as you like
        raise _wrong(f"max_position_embeddings is {most}, and rows have {num_tokens} tokens", got=str(most))


def _from_input(taken: ImageInput | TokensInput) -> dict[str, Any]:
    if isinstance(taken, ImageInput):
        size = taken.height if taken.height == taken.width else (taken.height, taken.width)
        return {"num_channels": taken.channels, "image_size": size}
    return {"vocab_size": taken.vocabulary, "pad_token_id": taken.pad_id}


def _configuration(spec: TransformersModel, ours: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    try:
        default = AutoConfig.for_model(spec.model_type)
    except Exception as error:  # the library raises whatever its parts raise
        raise InvalidSpec(
            f"student.model_type: transformers can't configure '{spec.model_type}': {_said(error)}",
            field="student.model_type",
            expected="a model type of the transformers library, such as 'vit' or 'bert'",
            got=spec.model_type,
        ) from error
    _check_keys(spec, default, ours)
    # what the input says is set only where this model type has such a setting
    fitting = {key: value for key, value in ours.items() if key == "num_labels" or hasattr(default, key)}
    try:
        config = AutoConfig.for_model(spec.model_type, **{**spec.config, **fitting})
    except Exception as error:  # the library raises whatever its parts raise
        raise _wrong(f"{spec.model_type} refuses this configuration: {_said(error)}") from error
    # model types with several classifiers look here, and take their first if nothing is named
    config.architectures = config.architectures or []
    return config


def _check_keys(spec: TransformersModel, default: Any, ours: dict[str, Any]) -> None:
    for key, value in spec.config.items():
        if key in FETCHING_KEYS | OUR_KEYS or key.startswith("_"):
            raise _wrong(f"'{key}' is not allowed: models are built here from sizes alone", got=key)
        if key == "attn_implementation" and value in ATTENTIONS:
            continue
        if key == "attn_implementation" or not hasattr(default, key):
            raise _wrong(f"{spec.model_type} has no '{key}' with the value {value!r}", got=f"{key}: {value!r}")
        if key in ours and value != ours[key]:
            raise _wrong(f"'{key}' is {value!r}, and the data says {ours[key]!r}; leave it out", got=repr(value))
    patch, size = spec.config.get("patch_size", getattr(default, "patch_size", None)), ours.get("image_size")
    if isinstance(patch, int) and isinstance(size, int) and (patch < 1 or size % patch):
        raise _wrong(f"patch_size {patch} doesn't divide the images' {size} pixels", got=f"patch_size: {patch}")


def _try_once(model: Classifier, row: Tensor, num_classes: int) -> None:
    with torch.inference_mode():
        logits_NC = model.eval()(row)
    if logits_NC.shape != (1, num_classes):
        raise _wrong(f"logits of one row have the shape {tuple(logits_NC.shape)}, not (1, {num_classes})")


def _wrong(what: str, *, got: str | None = None) -> InvalidSpec:
    return InvalidSpec(f"student.config: {what}", field="student.config", got=got)


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
