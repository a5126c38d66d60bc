"""Sizes counted by hand, and timings that are there."""

import torch

from distill.contracts.models import TokensInput, TransformersModel, VectorInput, ZooArgs, ZooModel
from distill.science.complexity import measure_size
from distill.science.inputs import example_input
from distill.science.models import build


def test_operations_of_a_small_cnn_by_hand(digit_input):
    model = build(ZooModel(name="cnn", args=ZooArgs(width=4)), input=digit_input, num_classes=10)

    size = measure_size(model, digit_input, weights_bytes=123, threads=1, device="cpu")

    # 8 x 8 images, halved twice: pixels x kernel x channels in x channels out, and the head; a multiply-add is two
    assert size.flops == 2 * (16 * 25 * 1 * 4 + 4 * 9 * 4 * 8 + 4 * 9 * 8 * 16 + 16 * 10)
    assert size.parameters == 25 * 4 + 9 * 4 * 8 + 9 * 8 * 16 + 2 * (4 + 8 + 16) + 10 * 17
    assert size.bytes == 123
    assert (size.latency_threads, size.latency_device) == (1, "cpu")


def test_attention_is_counted_whichever_kernel_computes_it():
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    tokens = TokensInput(length=16, vocabulary=100)

    def flops(attention: str) -> int:
        config = {**sizes, "attn_implementation": attention}
        spec = TransformersModel(source="transformers", model_type="bert", config=config)
        model = build(spec, input=tokens, num_classes=5)
        return measure_size(model, tokens, weights_bytes=1, threads=1, device="cpu").flops

    # the layer's projections and two feed-forward layers, scores and their use on values; the pooler and the head
    by_hand = 2 * (16 * (4 * 32 * 32 + 2 * 32 * 64) + 2 * 16 * 16 * 32 + 32 * 32 + 32 * 5)
    assert flops("eager") == flops("sdpa") == by_hand


def test_measuring_takes_latency_and_puts_everything_back(digit_input):
    model = build(ZooModel(name="cnn"), input=digit_input, num_classes=10)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    size = measure_size(model, digit_input, weights_bytes=1, threads=1, device="cpu")

    assert set(size.latency_ms) == {1, 64}
    assert 0 < size.latency_ms[1] < size.latency_ms[64]
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_example_rows_look_like_the_data(digit_input):
    assert example_input(digit_input, 2).dtype == torch.uint8
    assert example_input(TokensInput(length=5, vocabulary=3), 100).unique().tolist() == [0, 1, 2]
    assert example_input(VectorInput(features=4, mean=(0,) * 4, std=(1,) * 4), 2).shape == (2, 4)
