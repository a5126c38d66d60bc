"""The text CNN: windows and maxima as Kim has them, whatever is padded."""

import pytest
import torch

from distill.contracts.errors import InvalidSpec
from distill.contracts.models import TokensInput, ZooArgs, ZooModel
from distill.science.models import build
from distill.science.taps import Taps, tap_shapes

TOKENS = TokensInput(length=8, vocabulary=20, pad_id=3)
SPEC = ZooModel(name="text-cnn", args=ZooArgs(width=5))


@pytest.fixture
def model():
    return build(SPEC, input=TOKENS, num_classes=2).eval()


def test_padding_changes_nothing(model):
    sentence = torch.tensor([[7, 1, 9, 12]])
    padded = torch.cat([sentence, torch.full((1, 4), 3)], dim=1)

    torch.testing.assert_close(model(padded), model(sentence), rtol=1e-5, atol=1e-6)


def test_padding_teaches_nothing(model):
    model(torch.tensor([[7, 1, 9, 12, 3, 3, 3, 3]])).sum().backward()

    assert model.net.stem.weight.grad[3].abs().max() == 0
    assert model.net.stem.weight.grad[7].abs().max() > 0


def test_its_maxima_are_those_of_windows_worked_out_one_by_one(model):
    tokens = torch.tensor([[7, 1, 9, 12, 4, 3, 3, 3]])
    with Taps(model, ["pool"]) as features, torch.no_grad():
        model(tokens)

    embedded = model.net.stem.weight[tokens[0, :5]]  # (5, W)
    expected = []
    for size, stage in zip((3, 4, 5), model.net.stages, strict=True):
        weight, bias = stage[1].weight, stage[1].bias  # (W, W, size)
        before = (size - 1) // 2
        values = []
        for place in range(5):
            inside = [at for at in range(size) if 0 <= place + at - before < 5]
            window = sum(weight[:, :, at] @ embedded[place + at - before] for at in inside)
            values.append((window + bias).clamp(min=0))
        expected.append(torch.stack(values).amax(dim=0))
    torch.testing.assert_close(features["pool"][0], torch.cat(expected).detach(), rtol=1e-5, atol=1e-6)


def test_a_row_of_padding_alone_has_an_answer(model):
    assert model(torch.full((2, 8), 3)).isfinite().all()


def test_its_taps_are_named_as_those_of_other_zoo_models(model):
    shapes = tap_shapes(model, TOKENS)

    assert (shapes["stem"], shapes["stages.0"], shapes["pool"], shapes["head"]) == ((8, 5), (5, 8), (15,), (2,))


def test_its_size_is_that_of_its_width_and_vocabulary(model):
    # V W embeddings; W (3 + 4 + 5) W weights and 3 W biases of the windows; 2 (3 W + 1) of the head
    assert sum(parameter.numel() for parameter in model.parameters()) == 100 + 300 + 15 + 32


def test_images_are_refused_and_a_net_for_them_named(digit_input):
    with pytest.raises(InvalidSpec, match="a text-cnn takes tokens, and a row of this data is of kind 'image'"):
        build(SPEC, input=digit_input, num_classes=2)
