"""Taps read inner modules by name, before anything overwrites them."""

import pytest
import torch

from distill.contracts.errors import InvalidSpec
from distill.contracts.models import ZooModel
from distill.science.inputs import example_input
from distill.science.models import build
from distill.science.taps import Taps, tap_shapes


@pytest.fixture
def resnet(digit_input):
    return build(ZooModel(name="resnet8"), input=digit_input, num_classes=10).eval()


def test_a_tap_gives_what_its_module_gave(resnet, digit_input):
    images = example_input(digit_input, 3)

    with Taps(resnet, ["stages.0", "pool"]) as features:
        logits_NC = resnet(images)

    assert torch.equal(features["stages.0"], resnet.net.stages[0](resnet.net.stem(resnet.normalise(images))))
    assert torch.equal(resnet.net.head(features["pool"]), logits_NC)


def test_a_tap_before_an_activation_keeps_its_negative_values(resnet, digit_input):
    with Taps(resnet, ["stem.1", "stem.2"]) as features:
        resnet(example_input(digit_input, 3))

    assert features["stem.1"].min() < 0
    assert torch.equal(features["stem.1"].relu(), features["stem.2"])


def test_gradients_flow_through_a_tap(resnet, digit_input):
    with Taps(resnet, ["stages.1"]) as features:
        resnet(example_input(digit_input, 2))
    features["stages.1"].sum().backward()

    assert resnet.net.stem[0].weight.grad is not None


def test_nothing_is_read_once_the_taps_are_closed(resnet, digit_input):
    with Taps(resnet, ["pool"]) as features:
        resnet(example_input(digit_input, 2))
    resnet(example_input(digit_input, 5))

    assert len(features["pool"]) == 2


def test_an_unknown_tap_is_refused_with_the_ones_there_are(resnet):
    with pytest.raises(
        InvalidSpec, match=r"no module 'stages\.7' that gives one output a row; it has: stem, stem\.0"
    ) as refused:
        Taps(resnet, ["pool", "stages.7"])

    assert refused.value.details["got"] == "stages.7"


def test_the_shapes_of_all_taps_are_known_row_by_row(resnet, digit_input):
    shapes = tap_shapes(resnet, digit_input)

    assert (shapes["stem"], shapes["stages.0"], shapes["stages.2"]) == ((16, 8, 8), (16, 8, 8), (64, 2, 2))
    assert (shapes["pool"], shapes["head"]) == ((64,), (10,))
