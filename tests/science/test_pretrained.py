"""A folder that transformers wrote becomes a student again: the same configuration, the same answers."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from distill.contracts.errors import InvalidSpec, InvalidWeights
from distill.contracts.models import ImageInput, TransformersModel
from distill.science.inputs import example_input
from distill.science.models import build
from distill.science.models.pretrained import folder_config, load_folder

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 4}
GREY = ImageInput(channels=1, height=8, width=8, mean=(0.3,), std=(0.25,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny ViT of ten classes, saved by the library itself."""
    import transformers

    config = transformers.AutoConfig.for_model("vit", num_labels=10, image_size=8, num_channels=1, **SIZES)
    torch.manual_seed(7)
    transformers.AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


def student_of(folder: Path, num_classes: int = 10):
    spec = TransformersModel(source="transformers", model_type="vit", config=folder_config(folder, "vit"))
    torch.manual_seed(0)
    return build(spec, input=GREY, num_classes=num_classes)


def test_its_configuration_is_that_of_its_architecture(folder: Path):
    config = folder_config(folder, "vit")
    assert config.items() >= (SIZES | {"image_size": 8, "num_channels": 1}).items()
    assert not config.keys() & {"model_type", "id2label", "architectures", "transformers_version"}


def test_what_an_older_library_wrote_and_none_reads_is_left_out(folder: Path):
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"gradient_checkpointing": False}))

    model = student_of(folder)
    load_folder(model, folder)

    assert "gradient_checkpointing" not in folder_config(folder, "vit")


def test_its_weights_give_the_answers_that_the_library_gives(folder: Path):
    import transformers

    model = student_of(folder)
    load_folder(model, folder)
    rows = example_input(GREY, 5)
    pixels = (rows.float() / 255 - 0.3) / 0.25
    theirs = transformers.AutoModelForImageClassification.from_pretrained(folder, local_files_only=True).eval()
    with torch.inference_mode():
        assert torch.allclose(model.eval()(rows), theirs(pixel_values=pixels).logits, atol=1e-6)


def test_another_model_type_is_refused(folder: Path):
    with pytest.raises(InvalidSpec, match="holds a vit, not a bert") as refused:
        folder_config(folder, "bert")
    assert refused.value.details["field"] == "student.model_type"


def test_a_head_of_other_classes_is_refused_and_changes_nothing(folder: Path):
    model = student_of(folder, num_classes=7)
    before = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    with pytest.raises(InvalidWeights, match="of another shape: classifier"):
        load_folder(model, folder)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.net.state_dict().items())


def test_a_missing_tensor_is_not_made_up(folder: Path):
    model = student_of(folder)
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("classifier.bias")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidWeights, match=r"missing: classifier\.bias"):
        load_folder(model, folder)


def test_a_fresh_head_stays_random_and_the_body_is_the_folders(folder: Path):
    model = student_of(folder, num_classes=7)
    drawn = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}

    random = load_folder(model, folder, fresh_head=True)

    theirs, ours = load_file(folder / "model.safetensors"), model.net.state_dict()
    assert random == ("classifier.weight", "classifier.bias")
    assert all(torch.equal(ours[name], drawn[name]) for name in random)
    assert torch.equal(ours["vit.embeddings.cls_token"], theirs["vit.embeddings.cls_token"])
    assert not any(torch.equal(ours[name], drawn[name]) for name in ours if name.endswith("dense.weight"))


def test_a_head_that_would_fit_is_left_in_the_folder_too(folder: Path):
    model = student_of(folder)
    drawn = model.net.classifier.weight.clone()

    assert load_folder(model, folder, fresh_head=True)
    assert torch.equal(model.net.classifier.weight, drawn)


def test_a_body_without_its_head_and_prefix_is_enough_for_a_fresh_head(folder: Path):
    import transformers

    transformers.AutoModel.from_pretrained(folder, local_files_only=True).save_pretrained(folder / "body")
    model = student_of(folder, num_classes=3)

    with pytest.raises(InvalidWeights, match="missing: classifier"):
        load_folder(model, folder / "body")
    assert load_folder(model, folder / "body", fresh_head=True) == ("classifier.weight", "classifier.bias")


def test_a_tensor_of_the_body_is_not_made_up_for_a_fresh_head(folder: Path):
    model = student_of(folder)
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("vit.embeddings.cls_token")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(InvalidWeights, match=r"missing: vit\.embeddings\.cls_token"):
        load_folder(model, folder, fresh_head=True)


def test_layers_left_over_are_refused_with_a_fresh_head_too(folder: Path):
    spec = TransformersModel(
        source="transformers", model_type="vit", config=folder_config(folder, "vit") | {"num_hidden_layers": 0}
    )
    model = build(spec, input=GREY, num_classes=3)

    with pytest.raises(InvalidWeights, match="left over"):
        load_folder(model, folder, fresh_head=True)


def test_a_pickle_is_never_opened(folder: Path):
    model = student_of(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InvalidWeights, match="no other kind is ever opened"):
        load_folder(model, folder)


def test_code_that_a_folder_brings_is_not_run(folder: Path):
    content = json.loads((folder / "config.json").read_text())
    content |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (folder / "config.json").write_text(json.dumps(content))
    (folder / "own.py").write_text("raise SystemExit('this ran')")
    with pytest.raises(InvalidWeights, match="names code to be run"):
        folder_config(folder, "own")


@pytest.mark.parametrize("text", ["{torn", "[]", ""])
def test_a_torn_configuration_is_refused(folder: Path, text: str):
    (folder / "config.json").write_text(text)
    with pytest.raises(InvalidWeights, match=r"config\.json"):
        folder_config(folder, "vit")
