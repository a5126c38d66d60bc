"""The check of a new version, as the process that the control plane starts, against a real Redis."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from redis import Redis
from safetensors.torch import load_file, save_file

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import InvalidData, InvalidSpec, InvalidWeights
from distill.contracts.facts import FACT, VersionChecked, VersionRejected
from distill.contracts.models import PluginModel
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import CheckedMember, MemberFromFile, TeacherRecord, TeacherVersionState
from distill.science.inputs import example_input
from distill.science.weights import load_model
from teacher_server import check
from teacher_server.check import main, reach_verdict
from teacher_server.examination import examine
from teacher_server.folder import member_folder, read_manifest
from teacher_server.runner import Ensemble
from tests.teacher_server.small_teachers import CLASSES, CNN, IMAGE, MLP, a_version, folder_of

ROOT = Path(__file__).parents[2]


def a_file(path: str, **changes: Any) -> CheckedMember:
    fields = {"source": "file", "path": path, "model": MLP, "input": IMAGE, "classes": CLASSES}
    return CheckedMember(file=MemberFromFile(**fields | changes))


def weights_of(settings: NodeSettings, member: CheckedMember) -> dict[str, torch.Tensor]:
    return load_file(settings.storage / member.folder / "model.safetensors")


def store(redis: Redis, *members: CheckedMember, name: str, **changes: Any) -> None:
    version = a_version(*members).model_copy(update=changes)
    record = TeacherRecord(name=name, versions=(version,), created_at=now(), updated_at=now())
    redis.set(names.record_key("teacher", name), record.model_dump_json())


def run_check(settings: NodeSettings, name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "teacher_server.check", "--teacher", name, "--version", "1"]
    environment = os.environ | settings.to_environment()
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def verdicts(redis: Redis, name: str) -> list[Any]:
    return [FACT.validate_json(entry["fact"]) for _, entry in redis.xrange(names.inbox_key("teacher", name))]


def rejected(settings: NodeSettings, *members: CheckedMember, because: type[Exception], saying: str) -> None:
    with pytest.raises(because, match=saying):
        examine("bad", a_version(*members), folder_of(settings, "bad"), settings)


def test_a_good_version_is_published_with_a_manifest_and_a_fact(redis, settings, make_member):
    members = make_member(MLP), make_member(CNN)
    store(redis, *members, name="good")
    done = run_check(settings, "good")
    assert done.returncode == 0, done.stderr
    [fact] = verdicts(redis, "good")
    assert isinstance(fact, VersionChecked)
    manifest = fact.manifest
    assert manifest == read_manifest(folder_of(settings, "good"))
    # 64 * 16 + 16 and 16 * 4 + 4 weights and biases
    assert manifest.members[0].size.parameters == 1108
    assert manifest.size.parameters == sum(member.size.parameters for member in manifest.members)
    assert manifest.size.peak_memory_bytes == max(member.size.peak_memory_bytes for member in manifest.members) > 0
    assert manifest.members[0].job == members[0].job
    assert manifest.rows_per_s > 0
    copied = load_file(folder_of(settings, "good") / "member-0" / "model.safetensors")
    assert all(torch.equal(copied[name], tensor) for name, tensor in weights_of(settings, members[0]).items())
    log = (folder_of(settings, "good") / names.LOG_FILE).read_text()
    assert f"rows/s on cpu, {manifest.compute}" in log


def test_a_bad_version_is_rejected_with_the_problem_as_a_fact(redis, settings, make_member):
    store(redis, make_member(MLP), make_member(CNN, classes=("ankle boot", "bag", "coat", "hat")), name="unequal")
    assert run_check(settings, "unequal").returncode == 0
    [fact] = verdicts(redis, "unequal")
    assert isinstance(fact, VersionRejected)
    assert fact.problem.code == "invalid_spec"
    assert fact.problem.field == "members.1"
    assert "only member 1 has hat; only member 0 has dress" in fact.problem.message


def test_classes_in_another_order_are_rejected(settings, make_member):
    other = make_member(classes=("bag", "ankle boot", "coat", "dress"))
    rejected(settings, make_member(), other, because=InvalidSpec, saying="stand in another order")


def test_members_that_take_other_rows_are_rejected(settings, make_member):
    wider = make_member(taken=IMAGE.model_copy(update={"width": 9}))
    rejected(settings, make_member(), wider, because=InvalidSpec, saying="member 1 takes other rows .* width 9")


def test_weights_with_nan_are_rejected(settings, make_member):
    weights = weights_of(settings, make_member())
    next(iter(weights.values()))[0] = float("nan")
    save_file(weights, settings.data_root / "nan.safetensors")
    rejected(settings, a_file("nan.safetensors"), because=InvalidWeights, saying="member 0: .*not finite")


def test_answers_that_overflow_are_rejected(settings, make_member):
    weights = {name: tensor * 1e30 for name, tensor in weights_of(settings, make_member()).items()}
    save_file(weights, settings.data_root / "huge.safetensors")
    rejected(settings, a_file("huge.safetensors"), because=InvalidWeights, saying="answers with NaN or infinity")


def test_a_plugin_can_be_a_member_where_the_node_lists_it(settings, make_member):
    name = "tests.student_worker.own_nets:net"
    model = PluginModel.model_validate({"source": "plugin", "import": name, "args": {"units": 5}})
    layers = {"1.weight": (5, 64), "1.bias": (5,), "3.weight": (4, 5), "3.bias": (4,)}
    save_file({part: torch.ones(shape) for part, shape in layers.items()}, settings.data_root / "own.safetensors")
    member = a_file("own.safetensors", model=model)

    rejected(settings, member, because=InvalidSpec, saying="member 0: .*not on the list of the operator")
    listed = settings.model_copy(update={"plugins": (name,)})
    folder = folder_of(settings, "own")
    manifest = examine("own", a_version(member), folder, listed)

    assert manifest.members[0].model == model
    assert manifest.size.parameters == 64 * 5 + 5 + 5 * 4 + 4
    ensemble = Ensemble.load(
        folder, digest=manifest.digest, device=torch.device("cpu"), max_batch_rows=32, plugins=listed.plugins
    )
    assert ensemble.num_members == 1


def test_a_version_is_measured_in_the_precision_in_which_it_will_be_served(settings, make_member):
    version = a_version(make_member(MLP))
    half = version.model_copy(update={"resources": version.resources.model_copy(update={"precision": "bf16"})})
    folder = folder_of(settings, "half")
    manifest = examine("half", half, folder, settings)
    assert (manifest.precision, manifest.fused, manifest.compute) == ("bf16", False, "bf16")

    served = Ensemble.load(folder, digest=manifest.digest, device=torch.device("cpu"), max_batch_rows=32)
    inputs = example_input(IMAGE, 32)
    model = load_model(member_folder(folder, 0))[0].eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected_NC = model(inputs)
    answered = served.answer(inputs.numpy(), members=(0,), precision="fp32", taps=())
    assert torch.equal(torch.from_numpy(answered["logits"][:, 0]), expected_NC)


def test_a_pickle_dressed_as_safetensors_is_rejected_unopened(settings):
    path = settings.data_root / "pickle.safetensors"
    path.write_bytes(pickle.dumps({"fc.weight": [1.0]}))
    rejected(settings, a_file("pickle.safetensors"), because=InvalidWeights, saying="pickle")


def test_a_torn_file_is_rejected(settings, make_member):
    whole = (settings.storage / make_member().folder / "model.safetensors").read_bytes()
    (settings.data_root / "torn.safetensors").write_bytes(whole[:-100])
    rejected(settings, a_file("torn.safetensors"), because=InvalidWeights, saying="torn")


def test_weights_of_another_model_are_rejected(settings, make_member):
    save_file(weights_of(settings, make_member(CNN)), settings.data_root / "cnn.safetensors")
    rejected(settings, a_file("cnn.safetensors"), because=InvalidWeights, saying="doesn't fit the model")


@pytest.mark.parametrize("path", ["../escape.safetensors", "/etc/passwd", "link.safetensors"])
def test_a_path_out_of_the_data_root_is_rejected(settings, path):
    link = settings.data_root / "link.safetensors"
    if not link.is_symlink():
        link.symlink_to("/etc/passwd")
    rejected(settings, a_file(path), because=InvalidData, saying="leads out of")


def test_a_job_folder_out_of_the_storage_is_rejected(settings):
    rejected(settings, CheckedMember(folder="../elsewhere"), because=InvalidData, saying="leads out of")


def test_a_check_that_breaks_is_a_rejection_that_names_its_log(settings, make_member):
    broken = settings.storage / "a-file"
    broken.touch()
    verdict = reach_verdict("broken", a_version(make_member()), broken / "below", settings)
    assert isinstance(verdict, VersionRejected)
    assert "the check itself broke" in verdict.problem.message
    assert "log.txt" in verdict.problem.message


@pytest.fixture
def node(settings, monkeypatch):
    """This process as a node of the cluster."""
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_a_version_that_has_its_verdict_is_left_alone(node, redis, make_member):
    store(redis, make_member(), name="done", state=TeacherVersionState.READY)
    assert main(["--teacher", "done", "--version", "1"]) == 0
    assert verdicts(redis, "done") == []


def test_a_version_that_is_not_there_gives_an_exit_code(node, redis):
    assert main(["--teacher", "nobody", "--version", "1"]) == 1


def test_a_silent_redis_gives_an_exit_code(node):
    node.setenv("STILLHOUSE_REDIS_URL", "redis://127.0.0.1:1/0")
    node.setattr(check, "PAUSE_S", 0.0)
    assert main(["--teacher", "any", "--version", "1"]) == 1


def test_a_check_that_is_run_again_gives_the_same_teacher(settings, make_member):
    version = a_version(make_member())
    first, second = (examine("twice", version, folder_of(settings, "twice"), settings) for _ in range(2))
    assert first.digest == second.digest
    assert sorted(path.name for path in folder_of(settings, "twice").iterdir()) == ["manifest.json", "member-0"]
