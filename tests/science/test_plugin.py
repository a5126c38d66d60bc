"""Models of the operator's own: built where they are listed, refused in words where not."""

import sys
from types import ModuleType

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from distill.contracts.errors import InvalidSpec
from distill.contracts.models import ImageInput, PluginModel, VectorInput
from distill.contracts.settings import NodeSettings
from distill.contracts.students import PluginStudent
from distill.science.export import export_program
from distill.science.models import build
from distill.science.weights import load_model, save_model

TWO = VectorInput(features=2, mean=(1.0, 2.0), std=(1.0, 4.0))
NET = "house_nets:linear"


def linear(input, num_classes, *, bias=True):
    return nn.Sequential(nn.Flatten(), nn.Linear(input.features, num_classes, bias=bias))


@pytest.fixture
def nets(monkeypatch) -> ModuleType:
    """A module of the operator's, with a factory."""
    module = ModuleType("house_nets")
    module.linear = linear
    monkeypatch.setitem(sys.modules, "house_nets", module)
    return module


def plugin(path=NET, **args):
    return PluginModel.model_validate({"source": "plugin", "import": path, "args": args})


def test_a_listed_factory_builds_a_model_of_normalised_rows(nets):
    model = build(plugin(bias=False), input=TWO, num_classes=3, plugins=[NET])

    logits_NC = model(torch.tensor([[2.0, -2.0]]))

    torch.testing.assert_close(logits_NC, torch.tensor([[1.0, -1.0]]) @ model.net[1].weight.T)
    assert model.training


def test_its_card_and_weights_bring_it_back(nets, tmp_path):
    model = build(plugin(bias=False), input=TWO, num_classes=2, plugins=[NET])
    save_model(model, tmp_path, spec=plugin(bias=False), input=TWO, classes=("a", "b"))

    again, card = load_model(tmp_path, plugins=[NET])

    assert card.model == plugin(bias=False)
    assert torch.equal(again.net[1].weight, model.net[1].weight)
    with pytest.raises(InvalidSpec, match="not on the list"):
        load_model(tmp_path)


def test_it_is_exported_like_any_other(nets, tmp_path):
    model = build(plugin(), input=TWO, num_classes=2, plugins=[NET]).eval()
    rows = torch.randn(5, 2)

    export_program(model, TWO, tmp_path / "student.pt2")

    torch.testing.assert_close(torch.export.load(tmp_path / "student.pt2").module()(rows), model(rows))


@pytest.mark.parametrize("plugins", [[], ["house_nets:other"], ["house_nets"]])
def test_what_is_not_listed_is_never_imported(plugins, monkeypatch):
    monkeypatch.delitem(sys.modules, "this", raising=False)

    with pytest.raises(InvalidSpec, match="not on the list of the operator") as refused:
        build(plugin("this:zen"), input=TWO, num_classes=3, plugins=plugins)

    assert refused.value.details["field"] == "student.import"
    assert "this" not in sys.modules


@pytest.mark.parametrize("path", ["os", "os:", ":system", "os:path.join", "os:system; rm", "../nets:a", "os.:a"])
def test_what_is_no_import_path_is_refused_by_the_schema(path):
    with pytest.raises(ValidationError, match=r"expected package\.module:name"):
        plugin(path)


def broken(input, num_classes):
    raise RuntimeError("no such size")


def answerless(input, num_classes):
    return nn.Linear(99, num_classes)


@pytest.mark.parametrize(
    ("factory", "args", "complaint"),
    [(broken, {}, "RuntimeError: no such size"), (linear, {"depth": 3}, "unexpected keyword argument 'depth'"),
     (lambda input, num_classes: nn.Linear(2, 9), {}, r"gives no logits: expected \(1, 3\), got \(1, 9\)"),
     (lambda input, num_classes: "net", {}, "no torch module"), (answerless, {}, "can't answer for a row"),
     (3, {}, "can't be called")],
)  # fmt: skip
def test_a_factory_that_fails_is_told_in_its_own_words(nets, factory, args, complaint):
    nets.linear = factory

    with pytest.raises(InvalidSpec, match=complaint):
        build(plugin(**args), input=TWO, num_classes=3, plugins=[NET])


@pytest.mark.parametrize("path", ["house_nets:absent", "no_such_package:net"])
def test_a_listed_factory_that_is_not_there_is_named(nets, path):
    with pytest.raises(InvalidSpec, match=f"'{path}' can't be imported on this node"):
        build(plugin(path), input=TWO, num_classes=3, plugins=[path])


def test_the_list_comes_from_the_environment_and_goes_on_to_children(tmp_path):
    said = {"STILLHOUSE_REDIS_URL": "redis://", "STILLHOUSE_STORAGE": str(tmp_path)}
    assert NodeSettings.from_environment(said).plugins == ()

    node = NodeSettings.from_environment(said | {"STILLHOUSE_PLUGINS": " ours.nets:small, ours.nets:big,"})

    assert node.plugins == ("ours.nets:small", "ours.nets:big")
    assert NodeSettings.from_environment(node.to_environment()) == node


def test_a_student_keeps_its_import_path_through_json():
    student = PluginStudent.model_validate({"source": "plugin", "import": NET, "args": {"bias": False}})

    assert PluginStudent.model_validate_json(student.model_dump_json()) == student
    assert '"import":"house_nets:linear"' in student.model_dump_json()


def test_the_input_tells_the_factory_what_a_row_is(nets):
    seen = []

    def watching(input, num_classes):
        seen.append((input, num_classes))
        return nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))

    nets.linear = watching
    photo = ImageInput(channels=3, height=2, width=2, mean=(0.5,) * 3, std=(0.5,) * 3)
    build(plugin(), input=photo, num_classes=4, plugins=[NET])

    assert seen == [(photo, 4)]
