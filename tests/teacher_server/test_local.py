"""Teachers in this very process: members of the operator's own answer there too, where the node lists them."""

import pytest
import torch
from safetensors.torch import save_file

from distill.contracts.errors import InvalidSpec
from distill.contracts.job import JobSpec
from distill.contracts.models import PluginModel
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import CheckedMember, MemberFromFile, ResolvedTeacher
from examples.in_process import a_record, publish, teachers_here
from teacher_server.local import LocalPool
from tests.teacher_server.small_teachers import CLASSES, IMAGE

OURS = "tests.student_worker.own_nets:net"
"""Images of 64 pixels -> 5 units -> ReLU -> 4 classes; here every weight is 1."""


def a_plugin_member(settings: NodeSettings) -> CheckedMember:
    layers = {"1.weight": (5, 64), "1.bias": (5,), "3.weight": (4, 5), "3.bias": (4,)}
    save_file({part: torch.ones(shape) for part, shape in layers.items()}, settings.data_root / "ones.safetensors")
    model = PluginModel.model_validate({"source": "plugin", "import": OURS, "args": {"units": 5}})
    return CheckedMember(
        file=MemberFromFile(source="file", path="ones.safetensors", model=model, input=IMAGE, classes=CLASSES)
    )


def test_a_member_of_the_operators_own_answers_in_this_process_where_the_node_lists_it(settings: NodeSettings):
    listed = settings.model_copy(update={"plugins": (OURS,)})
    teacher = publish("ours", [a_plugin_member(settings)], listed)
    spec = JobSpec.model_validate(
        {
            "name": "taught",
            "dataset": {"source": "digits"},
            "student": {"source": "zoo", "name": "mlp"},
            "teachers": [{"name": teacher.reference}],
            "objective": [{"kind": "soft_targets"}],
            "answers": {"precision": "fp32"},
        }
    )
    record = a_record("taught", spec, (teacher,))

    pool = teachers_here(record, listed, ())
    assert pool is not None
    black_and_white = torch.stack([torch.zeros(1, 8, 8), torch.full((1, 8, 8), 255.0)]).to(torch.uint8)
    logits_NMC = pool.ask(black_and_white).result().logits_NMC

    # a white pixel is (1 - 0.3) / 0.25 = 2.8: units of 64 * 2.8 + 1 = 180.2, logits of 5 * 180.2 + 1; black is below 0
    torch.testing.assert_close(logits_NMC, torch.tensor([1.0, 902.0]).reshape(2, 1, 1).expand(2, 1, 4))
    with pytest.raises(InvalidSpec, match="not on the list of the operator"):
        teachers_here(record, settings, ())


def test_the_greatest_classes_are_told_as_the_pool_tells_them(trio: ResolvedTeacher, settings: NodeSettings, rows):
    asked = {"storage": settings.storage, "max_batch_rows": 64}
    dense = LocalPool([trio, trio], precision="fp32", **asked).ask(rows(70), members=[0, 2, 4]).result()
    top = LocalPool([trio, trio], precision="fp16", top_k=3, **asked).ask(rows(70), members=[0, 2, 4]).result()
    assert top.members == (0, 2, 4)
    # with one class left out, its mass is the tail: nothing is lost but half precision's rounding
    expected_NMC = dense.logits_NMC.softmax(-1)
    torch.testing.assert_close(top.logits_NMC.exp(), expected_NMC, atol=1e-3, rtol=0)
    assert [tensor.dtype for tensor in top.logits.tensors] == [torch.float16, torch.uint16, torch.float32]
    torch.testing.assert_close(top.logits[1:3].dense(), top.logits_NMC[1:3])


def test_more_of_the_greatest_classes_than_there_are_others_are_refused_at_once(trio, settings):
    with pytest.raises(InvalidSpec, match="leave top_k out"):
        LocalPool([trio], storage=settings.storage, precision="fp16", top_k=4)
