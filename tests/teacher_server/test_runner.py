"""The model runner, without Ray: the numbers of the answer, checked against each member's own forward pass."""

import shutil
from typing import Any

import numpy as np
import pytest
import torch

from distill.contracts.errors import InvalidAnswer, InvalidSpec, InvalidWeights, TooLarge
from distill.contracts.taps import AttentionTap, FlowTap, MemberTap, PooledTap, WholeTap
from distill.science.models import build
from distill.science.weights import load_model
from teacher_server import size
from teacher_server.folder import member_folder, write_manifest
from teacher_server.runner import Ensemble
from tests.teacher_server.small_teachers import CNN, IMAGE, MLP, RESNET, folder_of

CPU = torch.device("cpu")


def whole(member: int, name: str) -> MemberTap:
    return MemberTap(member=member, tap=WholeTap(name=name))


def the_answer(ensemble: Ensemble, rows: torch.Tensor, **asked: Any) -> dict[str, np.ndarray]:
    asked = {"members": ensemble.choose_members(None), "precision": "fp32", "taps": ()} | asked
    return ensemble.answer(rows.numpy(), **asked)


@pytest.fixture
def ensemble(trio, settings) -> Ensemble:
    folder = folder_of(settings, "trio")
    return Ensemble.load(folder, digest=trio.digest, device=CPU, max_batch_rows=64)


@pytest.fixture
def expected(trio, settings):
    """Logits (N, M, C) of the members, each called by itself."""
    folder = folder_of(settings, "trio")
    members = [load_model(member_folder(folder, position))[0].eval() for position in range(3)]

    def call(rows: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            return torch.stack([member(rows) for member in members], dim=1).numpy()

    return call


def test_an_answer_is_the_forward_pass_of_each_member(ensemble, expected, rows):
    logits_NMC = the_answer(ensemble, rows(100))["logits"]
    assert logits_NMC.dtype == np.float32
    np.testing.assert_allclose(logits_NMC, expected(rows(100)), atol=1e-5)


def test_half_precision_rounds_and_no_more(ensemble, expected, rows):
    logits_NMC = the_answer(ensemble, rows(40), precision="fp16")["logits"]
    assert logits_NMC.dtype == np.float16
    np.testing.assert_allclose(logits_NMC, expected(rows(40)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("num_rows", [1, 2, 31, 33, 65, 200])
def test_a_row_is_answered_the_same_bit_for_bit_whoever_its_neighbours_are(ensemble, rows, num_rows):
    row = rows(1, seed=7)
    alone = the_answer(ensemble, row)["logits"]
    among_others = the_answer(ensemble, torch.cat([rows(num_rows), row]))["logits"]
    assert np.array_equal(alone[0], among_others[-1])


def test_only_the_members_asked_answer_in_the_order_asked(ensemble, rows):
    everyone = the_answer(ensemble, rows(5))["logits"]
    some = the_answer(ensemble, rows(5), members=(2, 0))["logits"]
    assert np.array_equal(some, everyone[:, [2, 0]])


@pytest.mark.parametrize("members", [(), (3,), (-1,), (0, 0)])
def test_members_that_cannot_be_asked_are_refused(ensemble, members):
    with pytest.raises(InvalidSpec, match="members 0 to 2"):
        ensemble.choose_members(members)


def test_taps_come_of_the_member_that_is_asked(ensemble, rows, trio):
    answered = the_answer(ensemble, rows(70), taps=(whole(2, "stages.0"),))
    assert set(answered) == {"logits", "tap.2.stages.0"}
    assert answered["tap.2.stages.0"].shape == (70, *trio.manifest.members[2].taps["stages.0"])


def test_what_a_loss_does_not_need_of_a_feature_never_leaves_the_teacher(ensemble, rows, trio):
    channels, height, width = trio.manifest.members[2].taps["stages.0"]
    taps = (
        whole(2, "stages.0"),
        MemberTap(member=2, tap=AttentionTap(name="stages.0", power=2)),
        MemberTap(member=2, tap=PooledTap(name="stages.0", size=(2, 1))),
        MemberTap(member=2, tap=FlowTap(first="stages.0", second="stages.1")),
    )
    answered = the_answer(ensemble, rows(70), taps=taps)
    maps = answered["tap.2.stages.0"]
    np.testing.assert_allclose(answered["tap.2.attention:2:stages.0"], (maps**2).mean(axis=1), rtol=1e-4)
    pooled = maps.reshape(70, channels, 2, height // 2, 1, width).mean(axis=(3, 5))
    np.testing.assert_allclose(answered["tap.2.pooled:2x1:stages.0"], pooled, rtol=1e-4, atol=1e-6)
    deeper = trio.manifest.members[2].taps["stages.1"][0]
    assert answered["tap.2.flow:stages.0:stages.1"].shape == (70, channels, deeper)


def test_a_tap_is_what_the_module_gives(ensemble, rows, settings):
    model = load_model(member_folder(folder_of(settings, "trio"), 2))[0].eval()
    last = [name for name, module in model.net.named_modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.inference_mode():
        logits_NC = model(rows(9)).numpy()
    answered = the_answer(ensemble, rows(9), taps=(whole(2, last),))
    np.testing.assert_allclose(answered[f"tap.2.{last}"], logits_NC, atol=1e-5)


def test_a_tap_that_nobody_has_is_refused(ensemble):
    with pytest.raises(InvalidSpec, match="member 1 has no tap 'nowhere'"):
        ensemble.check_taps((whole(1, "nowhere"),), (0, 1, 2))
    with pytest.raises(InvalidSpec, match="but not its answer"):
        ensemble.check_taps((whole(1, "head"),), (0, 2))
    with pytest.raises(InvalidSpec, match="attention needs maps"):
        ensemble.check_taps((MemberTap(member=1, tap=AttentionTap(name="head", power=2)),), (1,))


def test_a_module_that_the_manifest_does_not_list_is_no_tap(settings, trio, tmp_path):
    members = [member.model_copy(update={"taps": {}}) for member in trio.manifest.members]
    folder = shutil.copytree(folder_of(settings, "trio"), tmp_path / "trio")
    write_manifest(folder, trio.manifest.model_copy(update={"members": tuple(members)}))
    ensemble = Ensemble.load(folder, digest=trio.digest, device=CPU, max_batch_rows=64)
    with pytest.raises(InvalidSpec, match="member 0 has no tap"):
        ensemble.check_taps((whole(0, next(iter(trio.manifest.members[0].taps))),), (0, 1, 2))


def test_an_answer_larger_than_a_node_can_take_is_refused_before_it_is_computed(ensemble, rows, monkeypatch):
    forward_passes = []
    ensemble._forward._members[0].register_forward_hook(lambda *_: forward_passes.append(1))
    # a row of logits: 3 members x 4 classes x 4 bytes
    monkeypatch.setattr(size, "MAX_ANSWER_BYTES", 48 * 199)
    with pytest.raises(TooLarge, match=r"would take 9600 bytes.* at most 199 rows"):
        the_answer(ensemble, rows(200))
    assert not forward_passes
    assert len(the_answer(ensemble, rows(199))["logits"]) == 199


def test_an_answer_that_half_precision_cannot_hold_is_refused(rows):
    model = build(MLP, input=IMAGE, num_classes=4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e4)
    ensemble = Ensemble([model], input=IMAGE, num_classes=4, taps=[{}], device=CPU, max_batch_rows=64)
    assert np.isfinite(the_answer(ensemble, rows(3))["logits"]).all()
    with pytest.raises(InvalidAnswer, match="need answers of precision fp32"):
        the_answer(ensemble, rows(3), precision="fp16")


def test_weights_that_are_not_the_version_asked_for_are_not_served(settings, trio):
    with pytest.raises(InvalidWeights, match="not the version"):
        Ensemble.load(folder_of(settings, "trio"), digest="sha256:" + "0" * 64, device=CPU, max_batch_rows=64)


def test_a_version_without_a_manifest_is_not_served(tmp_path):
    with pytest.raises(InvalidWeights, match="can't be read"):
        Ensemble.load(tmp_path, digest="sha256:" + "0" * 64, device=CPU, max_batch_rows=64)


def test_published_sizes_of_three_architectures_answer_together(rows):
    members = [build(spec, input=IMAGE, num_classes=4) for spec in (MLP, CNN, RESNET)]
    ensemble = Ensemble(members, input=IMAGE, num_classes=4, taps=[{}] * 3, device=CPU, max_batch_rows=10)
    assert the_answer(ensemble, rows(33))["logits"].shape == (33, 3, 4)
