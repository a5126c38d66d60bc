"""The model runner, without Ray: the numbers of the answer, checked against each member's own forward pass."""

import copy
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from distill.contracts.errors import InvalidSpec, InvalidWeights, NotFinite, TooLarge
from distill.contracts.models import VectorInput
from distill.contracts.taps import AttentionTap, FlowTap, MemberTap, PooledTap, WholeTap
from distill.science.models import Classifier, build
from distill.science.weights import load_model
from teacher_server import size
from teacher_server.folder import member_folder, write_manifest
from teacher_server.fused import groups_of
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


def test_an_answer_larger_than_a_node_can_take_is_refused_before_anything_is_computed(ensemble, rows, monkeypatch):
    def never(*_: Any) -> None:
        raise AssertionError("computed")

    # a row of logits: 3 members x 4 classes x 4 bytes
    monkeypatch.setattr(size, "MAX_ANSWER_BYTES", 48 * 199)
    assert len(the_answer(ensemble, rows(199))["logits"]) == 199
    monkeypatch.setattr(ensemble, "launch", never)
    with pytest.raises(TooLarge, match=r"would take 9600 bytes.* at most 199 rows"):
        the_answer(ensemble, rows(200))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("top_k", [None, 2])
def test_the_size_of_an_answer_is_known_from_shapes_alone(ensemble, rows, monkeypatch, precision, top_k):
    taps = (whole(2, "stages.0"), MemberTap(member=2, tap=AttentionTap(name="stages.1", power=2)))
    answered = the_answer(ensemble, rows(1), members=(2, 0), precision=precision, top_k=top_k, taps=taps)
    num_bytes = sum(tensor.nbytes for tensor in answered.values())
    asked = {"members": (2, 0), "precision": precision, "top_k": top_k, "taps": taps}
    monkeypatch.setattr(size, "MAX_ANSWER_BYTES", num_bytes)
    ensemble.check_answer_size(1, **asked)
    monkeypatch.setattr(size, "MAX_ANSWER_BYTES", num_bytes - 1)
    with pytest.raises(TooLarge, match=f"would take {num_bytes} bytes"):
        ensemble.check_answer_size(1, **asked)


def test_ten_of_a_thousand_classes_are_44_bytes_a_row_and_member():
    asked = {"precision": "fp16", "top_k": 10, "taps": (), "shapes": ()}
    assert size.answer_row_bytes(1, 1000, **asked) == 10 * (2 + 2) + 4


def test_the_greatest_classes_are_those_of_each_members_own_softmax(ensemble, expected, rows):
    answered = the_answer(ensemble, rows(70), top_k=2)
    assert set(answered) == {"top.log_probs", "top.classes", "top.tail"}
    logits_NMC = expected(rows(70)).astype(np.float64)
    probs_NMC = np.exp(logits_NMC) / np.exp(logits_NMC).sum(-1, keepdims=True)
    np.testing.assert_allclose(
        np.exp(answered["top.log_probs"].astype(float)), -np.sort(-probs_NMC)[..., :2], rtol=5e-3
    )
    np.testing.assert_allclose(answered["top.tail"], np.sort(probs_NMC)[..., :2].sum(-1), rtol=1e-4)
    chosen = np.take_along_axis(probs_NMC, answered["top.classes"].astype(int), -1)
    np.testing.assert_allclose(chosen, -np.sort(-probs_NMC)[..., :2], rtol=1e-5)


def test_all_classes_as_the_greatest_are_refused(ensemble, rows):
    with pytest.raises(InvalidSpec, match="leave top_k out"):
        the_answer(ensemble, rows(3), top_k=4)


def test_a_batch_is_launched_here_and_fetched_elsewhere_while_the_next_is_launched(ensemble, expected, rows):
    asked = {"members": (0, 1, 2), "precision": "fp32", "top_k": None, "taps": ()}
    batches = [rows(64, seed=seed) for seed in range(3)]
    with ThreadPoolExecutor(1) as elsewhere:
        fetched = [elsewhere.submit(ensemble.launch(batch.numpy(), **asked).fetch) for batch in batches]
    for batch, future in zip(batches, fetched, strict=True):
        assert (future.result().bad, future.result().overflowed) == ({}, {})
        np.testing.assert_allclose(future.result().tensors["logits"], expected(batch), atol=1e-5)


def test_more_rows_than_a_device_batch_are_not_launched(ensemble, rows):
    with pytest.raises(ValueError, match="65 rows are more than one device batch, 64"):
        ensemble.launch(rows(65).numpy(), members=(0,), precision="fp32", top_k=None, taps=())


def a_line(slope: float) -> Ensemble:
    """One feature in; the two logits are the feature times ``slope``, and 0."""
    taken = VectorInput(features=1, mean=(0.0,), std=(1.0,))
    net = torch.nn.Linear(1, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[slope], [0.0]]))
        net.bias.zero_()
    return Ensemble(
        [Classifier(net, input=taken)], input=taken, num_classes=2, taps=[{}], device=CPU, max_batch_rows=32
    )


def test_rows_that_are_not_finite_are_named_so_that_the_others_can_be_answered():
    ensemble = a_line(1.0)
    inputs = np.array([[1.0], [np.nan], [70_000.0], [-np.inf], [65_504.0]], np.float32)
    asked = {"members": (0,), "top_k": None, "taps": ()}

    halves = ensemble.launch(inputs, precision="fp16", **asked).fetch()
    assert halves.bad["logits"].tolist() == [False, True, True, True, False]
    assert halves.overflowed["logits"].tolist() == [False, False, True, False, False]
    assert halves.tensors["logits"][0].tolist() == [[1.0, 0.0]]

    singles = ensemble.launch(inputs, precision="fp32", **asked).fetch()
    assert singles.bad["logits"].tolist() == [False, True, False, True, False]
    greatest = ensemble.launch(inputs, precision="fp16", **asked | {"top_k": 1}).fetch()
    assert greatest.bad["top.log_probs"].tolist() == [False, True, False, True, False]


def test_an_answer_that_half_precision_cannot_hold_is_refused(rows):
    ensemble = a_line(1e4)
    inputs = torch.tensor([[1.0], [10.0]])
    np.testing.assert_allclose(the_answer(ensemble, inputs)["logits"][:, 0, 0], [1e4, 1e5])
    with pytest.raises(NotFinite, match="need answers of precision fp32"):
        the_answer(ensemble, inputs, precision="fp16")


def test_an_answer_that_is_no_number_is_refused():
    with pytest.raises(NotFinite, match="NaN or infinity in 'logits'"):
        the_answer(a_line(1.0), torch.tensor([[1.0], [torch.nan]]), precision="fp16")


def test_a_forward_pass_in_bfloat16_rounds_its_factors_to_eight_bits_and_answers_in_full(
    trio, settings, expected, rows
):
    half = Ensemble.load(
        folder_of(settings, "trio"), digest=trio.digest, device=CPU, max_batch_rows=64, precision="bf16"
    )
    answered = the_answer(half, rows(64), taps=(whole(2, "stages.0"),))
    assert answered["logits"].dtype == answered["tap.2.stages.0"].dtype == np.float32
    distance = np.abs(answered["logits"] - expected(rows(64))).max()
    assert 1e-4 < distance < 0.1


@pytest.fixture
def alike() -> list[Classifier]:
    """Five members: two of one architecture, two of another, one of its own; no two of the same weights or statistics."""
    torch.manual_seed(0)
    members = []
    for position, spec in enumerate((CNN, MLP, CNN, RESNET, MLP)):
        statistics = IMAGE.model_copy(update={"mean": (0.1 * position,), "std": (0.2 + 0.1 * position,)})
        members.append(build(spec, input=statistics, num_classes=4))
    return members


def an_ensemble(members: list[Classifier], *, fused: bool) -> Ensemble:
    members = copy.deepcopy(members)
    taps = [{name: () for name, _ in member.net.named_modules()} for member in members]
    return Ensemble(members, input=IMAGE, num_classes=4, taps=taps, device=CPU, max_batch_rows=64, fused=fused)


@pytest.mark.parametrize("members", [(0, 1, 2, 3, 4), (2, 4, 0, 1), (0, 1), (3,)])
def test_members_fused_answer_as_each_alone_whoever_is_asked(alike, rows, members):
    alone, fused = (the_answer(an_ensemble(alike, fused=fused), rows(70), members=members) for fused in (False, True))
    np.testing.assert_allclose(fused["logits"], alone["logits"], rtol=1e-5, atol=1e-5)


def test_members_of_one_architecture_take_one_forward_pass_where_all_are_asked_and_no_taps(alike, rows):
    assert groups_of(alike) == [[0, 2], [1, 4]]
    ensemble = an_ensemble(alike, fused=True)
    passes = []
    for position, member in enumerate(ensemble._members):
        member.register_forward_hook(lambda *_, position=position: passes.append(position))
    the_answer(ensemble, rows(40))
    assert sorted(passes) == [0, 1, 3]  # the first of a group stands for it
    passes.clear()
    the_answer(ensemble, rows(40), members=(0, 1, 4))
    assert sorted(passes) == [0, 1]
    passes.clear()
    the_answer(ensemble, rows(40), taps=(whole(0, "head"),))
    assert passes == [0, 1, 2, 3, 4]


def test_fused_members_hold_their_weights_once(alike):
    ensemble = an_ensemble(alike, fused=True)
    forward = ensemble._forward
    for member in (0, 2):
        [own] = [weight for name, weight in ensemble._members[member].named_parameters() if name == "net.head.weight"]
        assert (
            own.untyped_storage().data_ptr()
            == forward._groups[0]._weights["net.head.weight"].untyped_storage().data_ptr()
        )


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
