"""Zoo and transformers models: published sizes, any input, clear refusals."""

from typing import get_args

import pytest
import torch

from distill.contracts.errors import InvalidSpec
from distill.contracts.models import (
    ImageInput,
    TokensInput,
    TransformersModel,
    VectorInput,
    ZooArgs,
    ZooModel,
    ZooName,
)
from distill.contracts.students import ZooStudent
from distill.science.inputs import example_input
from distill.science.models import build
from distill.science.taps import tap_shapes

CIFAR = ImageInput(channels=3, height=32, width=32, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
TINY_VIT = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 4
}  # fmt: skip
TINY_BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
TOKENS = TokensInput(length=12, vocabulary=50)


def num_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "published"),
    [("resnet20", 278_324), ("resnet8x4", 1_233_540), ("resnet32x4", 7_433_860),
     ("wrn-16-2", 703_284), ("wrn-40-1", 569_780), ("wrn-40-2", 2_255_156)],
)  # fmt: skip
def test_published_architectures_have_their_published_number_of_parameters_on_cifar_100(name, published):
    # Tian, Krishnan, Isola (2019), arXiv:1910.10699, and its code
    assert num_parameters(build(ZooModel(name=name), input=CIFAR, num_classes=100)) == published


def test_the_plain_cnn_is_as_small_as_its_width_says(digit_input):
    narrow, wide = (
        build(ZooModel(name="cnn", args=ZooArgs(width=width)), input=digit_input, num_classes=10) for width in (12, 32)
    )

    # 25 W + 18 W^2 + 72 W^2 weights, 2 * 7 W of batch norm, 10 (4 W + 1) of the head
    assert num_parameters(narrow) == 25 * 12 + 90 * 144 + 14 * 12 + 10 * 49
    assert num_parameters(wide) == 25 * 32 + 90 * 1024 + 14 * 32 + 10 * 129


@pytest.mark.parametrize("name", [name for name in get_args(ZooName) if name != "text-cnn"])
def test_every_zoo_model_takes_raw_digits(name, digit_input):
    model = build(ZooModel(name=name), input=digit_input, num_classes=10)

    logits_NC = model(example_input(digit_input, 2))

    assert logits_NC.shape == (2, 10)
    assert logits_NC.dtype == torch.float32


def test_efficientnet_lite0_has_its_published_size():
    photos = ImageInput(channels=3, height=224, width=224, mean=(0.5,) * 3, std=(0.5,) * 3)
    model = build(ZooModel(name="efficientnet-lite0"), input=photos, num_classes=1000)

    # the weights that others publish have as many, and give the answers that their own code gives
    assert num_parameters(model) == 4_652_008
    assert tap_shapes(model, photos)["stages"] == (320, 7, 7)


@pytest.mark.parametrize("name", ["resnet8", "wrn-16-1"])
def test_width_sets_the_channels_of_the_first_stage(name, digit_input):
    model = build(ZooModel(name=name, args=ZooArgs(width=5)), input=digit_input, num_classes=3)

    assert model.net.stages[0](model.net.stem(torch.zeros(1, 1, 8, 8))).shape == (1, 5, 8, 8)
    assert model.net.head.in_features == 20


def test_images_are_normalised_inside(digit_input):
    model = build(ZooModel(name="mlp"), input=digit_input, num_classes=10).eval()
    images = example_input(digit_input, 4)

    torch.testing.assert_close(model(images), model.net((images.float() / 255 - 0.3) / 0.4))


def test_vectors_are_normalised_feature_by_feature():
    taken = VectorInput(features=2, mean=(1.0, -2.0), std=(2.0, 0.5))
    model = build(ZooModel(name="mlp", args=ZooArgs(hidden=(4,))), input=taken, num_classes=3).eval()

    torch.testing.assert_close(model.normalise(torch.tensor([[3.0, -1.0]])), torch.tensor([[1.0, 2.0]]))


def test_one_seed_gives_the_same_weights(digit_input):
    models = []
    for _ in range(2):
        torch.manual_seed(5)
        models.append(build(ZooStudent(name="resnet8"), input=digit_input, num_classes=10))

    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_model_that_does_not_take_the_data_names_one_that_does():
    with pytest.raises(InvalidSpec, match=r"a cnn takes images, and a row of this data is of kind 'tokens'") as refused:
        build(ZooModel(name="cnn"), input=TOKENS, num_classes=2)

    assert refused.value.details["field"] == "student.name"


def test_statistics_that_do_not_fit_the_channels_are_refused():
    with pytest.raises(InvalidSpec, match="2 values"):
        build(ZooModel(name="cnn"), input=CIFAR.model_copy(update={"mean": (0.5, 0.5)}), num_classes=2)
    with pytest.raises(InvalidSpec, match="greater than 0"):
        build(ZooModel(name="cnn"), input=CIFAR.model_copy(update={"std": (0.5, 0.0, 0.5)}), num_classes=2)


def test_a_transformers_image_model_learns_its_sizes_from_the_data(digit_input):
    spec = TransformersModel(source="transformers", model_type="vit", config=TINY_VIT)

    model = build(spec, input=digit_input, num_classes=7)

    assert model(example_input(digit_input, 3)).shape == (3, 7)
    assert (model.net.config.image_size, model.net.config.num_channels) == (8, 1)


def test_a_text_model_without_a_greatest_length_takes_any():
    config = {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 16}
    spec = TransformersModel(source="transformers", model_type="xlnet", config=config)
    tokens = TokensInput(length=12, vocabulary=50)

    assert build(spec, input=tokens, num_classes=3)(example_input(tokens, 2)).shape == (2, 3)


def test_a_transformers_text_model_does_not_see_padding():
    spec = TransformersModel(source="transformers", model_type="bert", config=TINY_BERT)
    model = build(spec, input=TOKENS, num_classes=3).eval()
    padded = torch.tensor([[5, 6, 7, 8] + [0] * 8])

    short = model.net(input_ids=padded[:, :4]).logits

    torch.testing.assert_close(model(padded), short, rtol=1e-4, atol=1e-6)


def test_rows_longer_than_a_text_model_can_place_are_refused():
    spec = TransformersModel(
        source="transformers", model_type="bert", config={**TINY_BERT, "max_position_embeddings": 8}
    )

    with pytest.raises(InvalidSpec, match="max_position_embeddings is 8, and rows have 12 tokens"):
        build(spec, input=TOKENS, num_classes=3)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"nonsense": 1}, "no 'nonsense'"), ({"num_labels": 5}, "the data says 7"), ({"patch_size": 3}, "doesn't divide"),
     ({"hidden_size": "wide"}, "hidden_size"), ({"hidden_act": "nope"}, "built"), ({"auto_map": {}}, "not allowed"),
     ({"_name_or_path": "somewhere"}, "not allowed"), ({"attn_implementation": "kernels/of-others"}, "attn_implem")],
)  # fmt: skip
def test_a_wrong_transformers_configuration_is_refused(change, complaint, digit_input):
    spec = TransformersModel(source="transformers", model_type="vit", config={**TINY_VIT, **change})

    with pytest.raises(InvalidSpec, match=complaint) as refused:
        build(spec, input=digit_input, num_classes=7)

    assert refused.value.details["field"] == "student.config"


def test_a_model_type_that_is_not_there_is_refused(digit_input):
    with pytest.raises(InvalidSpec, match="can't configure 'nope'") as refused:
        build(TransformersModel(source="transformers", model_type="nope"), input=digit_input, num_classes=7)

    assert refused.value.details["field"] == "student.model_type"
