"""The exported program: plain torch, raw inputs, the model's own answers."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from distill.contracts.models import HeadsSpec, ImageInput, TokensInput, TransformersModel, ZooArgs, ZooModel
from distill.science.export import export_program
from distill.science.inference import predict
from distill.science.inputs import example_input
from distill.science.models import build

TINY_PHOTO = ImageInput(channels=3, height=9, width=12, mean=(0.5,) * 3, std=(0.5,) * 3)
PLAIN_TORCH = """
import sys, torch
from safetensors.torch import load_file, save_file
program = torch.export.load(sys.argv[1] + "/student.pt2").module()
save_file({"logits": program(load_file(sys.argv[1] + "/rows")["rows"]).detach()}, sys.argv[1] + "/logits")
assert not [name for name in sys.modules if name.startswith("distill")]
"""


@pytest.mark.long  # fundamentals/test_submit.py says the same of a job's student
def test_plain_torch_runs_the_program_on_raw_images(tmp_path, digit_input):
    model = build(ZooModel(name="resnet8"), input=digit_input, num_classes=10)
    images = example_input(digit_input, 33)
    save_file({"rows": images}, tmp_path / "rows")

    export_program(model, digit_input, tmp_path / "student.pt2")
    subprocess.run([sys.executable, "-c", PLAIN_TORCH, str(tmp_path)], cwd=tmp_path, check=True)

    torch.testing.assert_close(load_file(tmp_path / "logits")["logits"], predict(model, images), rtol=0, atol=1e-5)
    assert model.training


def test_a_transformers_model_is_exported_too(tmp_path, digit_input):
    config = {
        "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "patch_size": 4
    }  # fmt: skip
    spec = TransformersModel(source="transformers", model_type="vit", config=config)
    model = build(spec, input=digit_input, num_classes=3)
    images = example_input(digit_input, 5)

    export_program(model, digit_input, tmp_path / "student.pt2")

    logits_NC = torch.export.load(tmp_path / "student.pt2").module()(images)
    torch.testing.assert_close(logits_NC.detach(), predict(model, images), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("text-cnn", TokensInput(length=9, vocabulary=30, pad_id=4)),
        pytest.param("efficientnet-lite0", TINY_PHOTO, marks=pytest.mark.long),
    ],
)
def test_other_zoo_models_are_exported_too(tmp_path, name, taken):
    model = build(ZooModel(name=name, args=ZooArgs(width=4)), input=taken, num_classes=3)
    rows = example_input(taken, 5)

    export_program(model, taken, tmp_path / "student.pt2")

    logits_NC = torch.export.load(tmp_path / "student.pt2").module()(rows)
    torch.testing.assert_close(logits_NC.detach(), predict(model, rows), rtol=0, atol=1e-5)


@pytest.mark.parametrize("how", ["mean_probability", "mean_logit"])
def test_a_student_with_a_head_for_each_member_is_exported_with_its_heads(tmp_path, digit_input, how):
    heads = HeadsSpec(weights=(1.0, 1.0, 2.0), aggregate=how)
    model = build(ZooModel(name="mlp", args=ZooArgs(hidden=(5,))), input=digit_input, num_classes=4, heads=heads)
    rows = example_input(digit_input, 6)

    export_program(model, digit_input, tmp_path / "student.pt2")

    with torch.no_grad():
        one, other, third = model.eval().single(rows).split(4, dim=1)
    expected_NC = 0.25 * one.softmax(1) + 0.25 * other.softmax(1) + 0.5 * third.softmax(1)
    if how == "mean_logit":
        expected_NC = (0.25 * one + 0.25 * other + 0.5 * third).softmax(1)
    logits_NC = torch.export.load(tmp_path / "student.pt2").module()(rows)
    torch.testing.assert_close(logits_NC.detach().softmax(1), expected_NC, rtol=0, atol=1e-5)


def test_predictions_do_not_depend_on_the_batch_size_nor_change_the_model(digit_input):
    model = build(ZooModel(name="resnet8"), input=digit_input, num_classes=10)
    images = example_input(digit_input, 70)

    small, large = predict(model, images, batch_size=32), predict(model, images)

    torch.testing.assert_close(small, large, rtol=0, atol=1e-5)
    assert model.training
    assert not large.is_inference()
    with pytest.raises(ValueError, match="at least one row"):
        predict(model, images[:0])
