"""The zoo: the name of an architecture to its net, at the published sizes unless told otherwise."""

import math

from torch import nn

from distill.contracts.errors import InvalidSpec
from distill.contracts.models import ImageInput, InputSpec, TokensInput, ZooModel
from distill.science.models.classifier import Classifier
from distill.science.models.cnn import Cnn
from distill.science.models.efficientnet_lite import EfficientNetLite
from distill.science.models.mlp import Mlp
from distill.science.models.resnet import ResNet
from distill.science.models.text_cnn import TextCnn
from distill.science.models.wide_resnet import WideResNet


def build(spec: ZooModel, *, input: InputSpec, num_classes: int) -> Classifier:
    """Build a zoo model for this input.

    Raises:
        InvalidSpec: the architecture doesn't take this kind of input.
    """
    if spec.name == "mlp":
        return Classifier(_mlp(spec, input, num_classes), input=input)
    if spec.name == "text-cnn":
        return Classifier(_text_cnn(spec, input, num_classes), input=input)
    if not isinstance(input, ImageInput):
        raise _wrong_input(spec.name, "images", input, "an 'mlp' takes vectors, a 'text-cnn' takes tokens")
    return Classifier(_image_net(spec, input.channels, num_classes), input=input)


def _mlp(spec: ZooModel, taken: InputSpec, num_classes: int) -> nn.Module:
    if isinstance(taken, TokensInput):
        raise _wrong_input(
            spec.name, "vectors or images", taken, "name a 'text-cnn', or a 'transformers' model such as 'bert'"
        )
    num_features = (
        math.prod((taken.channels, taken.height, taken.width)) if isinstance(taken, ImageInput) else taken.features
    )
    return Mlp(num_features, num_classes, hidden=spec.args.hidden or (256, 256), dropout=spec.args.dropout)


def _text_cnn(spec: ZooModel, taken: InputSpec, num_classes: int) -> nn.Module:
    if not isinstance(taken, TokensInput):
        raise _wrong_input(spec.name, "tokens", taken, "an 'mlp' takes vectors, a 'cnn' takes images")
    width, dropout = spec.args.width or 100, spec.args.dropout
    return TextCnn(taken.vocabulary, num_classes, pad_id=taken.pad_id, width=width, dropout=dropout)


def _image_net(spec: ZooModel, num_channels: int, num_classes: int) -> nn.Module:
    width, dropout = spec.args.width, spec.args.dropout
    if spec.name == "cnn":
        return Cnn(num_channels, num_classes, width=width or 12, dropout=dropout)
    if spec.name == "efficientnet-lite0":
        return EfficientNetLite(num_channels, num_classes, width=width or 16, dropout=dropout)
    if spec.name.startswith("wrn-"):
        depth, factor = (int(number) for number in spec.name.removeprefix("wrn-").split("-"))
        return WideResNet(num_channels, num_classes, depth=depth, width=width or 16 * factor, dropout=dropout)
    depth, factor = (int(number) for number in (spec.name.removeprefix("resnet") + "x1").split("x")[:2])
    stage = width or 16 * factor
    # the x4 nets of the distillation literature widen their stem half as much as their stages
    stem = stage if factor == 1 else max(1, stage // 2)
    return ResNet(num_channels, num_classes, depth=depth, stem=stem, width=stage, dropout=dropout)


def _wrong_input(name: str, takes: str, came: InputSpec, hint: str) -> InvalidSpec:
    return InvalidSpec(
        f"student.name: a {name} takes {takes}, and a row of this data is of kind '{came.kind}'; {hint}",
        field="student.name",
        expected=takes,
        got=came.kind,
        hint=hint,
    )
