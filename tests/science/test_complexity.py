"""Sizes counted by hand, and timings that are there."""

import pytest
import torch
from torch import Tensor, nn

from distill.contracts.models import TokensInput, TransformersModel, VectorInput, ZooArgs, ZooModel
from distill.science.complexity import measure_size
from distill.science.inputs import example_input
from distill.science.memory import peak_memory_bytes
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


@pytest.mark.parametrize("threads", [1, 2])
def test_memory_of_a_small_cnn_by_hand(digit_input, threads):
    model = build(ZooModel(name="cnn", args=ZooArgs(width=4)), input=digit_input, num_classes=10)

    size = measure_size(model, digit_input, weights_bytes=1, threads=threads, device="cpu")

    # 64 rows of four bytes a number; the fullest moment is the last stage's batch norm: the normalised images and what
    # the second stage gave are still held, and two maps of 16 channels are in the making
    assert size.peak_memory_bytes == 64 * 4 * (8 * 8 + 8 * 2 * 2 + 2 * 16 * 2 * 2)


def test_memory_is_that_of_tensors_alive_at_once():
    class Chain(nn.Module):
        def forward(self, inputs_N: Tensor) -> Tensor:
            doubled_N = inputs_N * 2  # 400 bytes
            raised_N = doubled_N + 1  # 800 with the doubled, which is let go now
            del doubled_N
            twice_N = torch.cat([raised_N.view(-1), raised_N])  # a view costs nothing: 400 + 800
            return twice_N.relu_()  # in place costs nothing

    assert peak_memory_bytes(Chain(), torch.ones(100)) == 1200


def test_memory_beside_the_weights_does_not_grow_with_them(digit_input):
    def memory(*hidden: int) -> int:
        model = build(ZooModel(name="mlp", args=ZooArgs(hidden=hidden)), input=digit_input, num_classes=10)
        with torch.inference_mode():
            return peak_memory_bytes(model, example_input(digit_input, 64))

    # images, one layer's sums and its ReLU; from the second layer on, what the layer before gave too
    assert memory(256) == 64 * 4 * (64 + 2 * 256)
    assert memory(64, 64, 64) == memory(64, 64) == 64 * 4 * 4 * 64


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
