"""Weights are written whole, read strictly, and never unpickled."""

import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from distill.contracts.errors import InvalidWeights
from distill.contracts.models import ZooArgs, ZooModel
from distill.science.files import write_whole
from distill.science.inputs import example_input
from distill.science.models import build
from distill.science.weights import file_digest, load_model, load_weights, save_model

CNN = ZooModel(name="cnn", args=ZooArgs(width=4))


def a_cnn(digit_input, num_classes=3):
    return build(CNN, input=digit_input, num_classes=num_classes)


@pytest.fixture
def saved(tmp_path, digit_input):
    save_model(a_cnn(digit_input), tmp_path / "saved", spec=CNN, input=digit_input, classes=("a", "b", "c"))
    return tmp_path / "saved" / "model.safetensors"


def rewritten(file, change):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    return file


def test_a_saved_model_comes_back_with_the_same_answers(tmp_path, digit_input):
    model = a_cnn(digit_input)
    model(example_input(digit_input, 8))  # moves the running statistics of the batch norms

    card = save_model(model, tmp_path / "new" / "folder", spec=CNN, input=digit_input, classes=("a", "b", "c"))
    again, card_again = load_model(tmp_path / "new" / "folder")

    images = example_input(digit_input, 4)
    assert torch.equal(model.eval()(images), again.eval()(images))
    assert card_again == card
    assert card.weights_digest == file_digest(tmp_path / "new" / "folder" / "model.safetensors")
    assert sorted(file.name for file in (tmp_path / "new" / "folder").iterdir()) == ["model.json", "model.safetensors"]


def test_a_file_written_by_halves_never_appears(tmp_path):
    (tmp_path / "a.json").write_text("before")

    def breaks_off(part):
        part.write_text("aft")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_whole(tmp_path / "a.json", breaks_off)

    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.json", "before")]


def test_a_truncated_file_is_refused(saved, digit_input):
    saved.write_bytes(saved.read_bytes()[:-100])

    with pytest.raises(InvalidWeights, match="torn"):
        load_weights(a_cnn(digit_input), saved)


@pytest.mark.parametrize("write", [pickle.dump, torch.save], ids=["pickle", "torch.save"])
def test_a_pickle_dressed_as_safetensors_is_refused_and_never_opened(write, tmp_path, digit_input):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "opened").touch, ()

    file = tmp_path / "model.safetensors"
    with file.open("wb") as opened:
        write({"head.weight": Trap()}, opened)

    with pytest.raises(InvalidWeights, match="is a pickle"):
        load_weights(a_cnn(digit_input), file)
    assert not (tmp_path / "opened").exists()


def test_weights_for_other_classes_are_refused_with_both_shapes(saved, digit_input):
    with pytest.raises(InvalidWeights, match=r"head.weight is \(3, 16\), the model's is \(10, 16\)") as refused:
        load_weights(a_cnn(digit_input, num_classes=10), saved)

    assert "classes" in refused.value.details["hint"]


def test_what_is_missing_and_what_is_too_much_are_named(saved, digit_input):
    def rename(tensors):
        tensors["tail.bias"] = tensors.pop("head.bias")

    with pytest.raises(InvalidWeights, match=r"missing: head\.bias; unexpected: tail\.bias"):
        load_weights(a_cnn(digit_input), rewritten(saved, rename))


def test_weights_that_are_not_finite_are_refused_and_leave_the_model_as_it_was(saved, digit_input):
    model = a_cnn(digit_input)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    with pytest.raises(InvalidWeights, match=r"not finite: head\.bias"):
        load_weights(model, rewritten(saved, lambda tensors: tensors["head.bias"].fill_(float("nan"))))

    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_weights_that_changed_since_their_card_are_refused(saved):
    rewritten(saved, lambda tensors: tensors["head.bias"].add_(1))

    with pytest.raises(InvalidWeights, match="not the file that its card names"):
        load_model(saved.parent)


def test_a_missing_file_is_named(saved, digit_input):
    with pytest.raises(InvalidWeights, match=r"other\.safetensors: is missing"):
        load_weights(a_cnn(digit_input), saved.with_name("other.safetensors"))
    saved.with_name("model.json").unlink()
    with pytest.raises(InvalidWeights, match=r"model\.json: can't be read"):
        load_model(saved.parent)


def test_half_precision_weights_start_a_float32_model(saved, digit_input):
    model = a_cnn(digit_input)
    bias = load_file(saved)["head.bias"]

    load_weights(model, rewritten(saved, lambda tensors: tensors.update({"head.bias": bias.half()})))

    assert model.net.head.bias.dtype == torch.float32
    assert torch.equal(model.net.head.bias, bias.half().float())
