"""What the attempt's check refuses, and how it names it."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from redis import Redis
from safetensors.torch import save_file

from distill.contracts.errors import InvalidData, InvalidSpec, InvalidWeights, StillhouseError
from distill.contracts.models import TokensInput
from distill.contracts.records import CheckpointRef
from distill.contracts.settings import NodeSettings
from examples.in_process import prepared
from student_worker.check import check, check_input
from student_worker.student import architecture
from tests.student_worker.jobs import ZERO, a_record, a_spec, a_teacher, taught_by

DIGITS = tuple("0123456789")
MLP = {"source": "zoo", "name": "mlp", "args": {"hidden": [16]}}


def test_a_right_job_yields_its_facts_and_steps(settings: NodeSettings, redis: Redis):
    found = check(a_record("right", a_spec()), settings, redis)
    assert found.facts.num_labelled == 200
    assert found.num_steps == 2 * (found.facts.num_train // 128)


def test_a_teacher_with_other_classes_is_refused(settings: NodeSettings, redis: Redis):
    teacher = a_teacher(classes=DIGITS[::-1])
    with pytest.raises(InvalidSpec, match="in another order: class 0 is '9' to wise@1 and '0' to the data") as error:
        check(a_record("classes", taught_by(teacher), teachers=(teacher,)), settings, redis)
    assert error.value.details["field"] == "teachers.0.name"


def test_a_teacher_of_other_images_is_refused(settings: NodeSettings, redis: Redis):
    teacher = a_teacher(classes=DIGITS, size=(3, 32, 32))
    with pytest.raises(InvalidSpec, match="takes images of 3 x 32 x 32, and the data has images of 1 x 8 x 8"):
        check(a_record("shape", taught_by(teacher), teachers=(teacher,)), settings, redis)


def test_a_target_that_names_no_member_is_refused(settings: NodeSettings, redis: Redis):
    teacher = a_teacher(classes=DIGITS, members=2)
    term = {"kind": "soft_targets", "target": {"from": "served", "teacher": 0, "member": 2}}
    spec = a_spec(teachers=[{"name": teacher.reference}], objective=[term])
    with pytest.raises(InvalidSpec, match="member 2"):
        check(a_record("member", spec, teachers=(teacher,)), settings, redis)


def test_a_student_that_can_not_be_exported_is_refused_before_it_is_trained(settings: NodeSettings, redis: Redis):
    np.savez(settings.data_root / "words.npz", inputs=np.arange(160).reshape(20, 8) % 9, labels=np.arange(20) % 2)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    student = {"source": "transformers", "model_type": "longformer", "config": sizes | {"attention_window": [4]}}
    spec = a_spec(
        dataset={"source": "npz", "train": "words.npz"}, student=student, training={"epochs": 1, "batch_size": 8}
    )
    with pytest.raises(InvalidSpec, match="a longformer can't be exported") as error:
        check(a_record("unexportable", spec), settings, redis)
    assert error.value.details["field"] == "student.model_type"


def test_a_student_of_a_folder_of_transformers_takes_its_configuration_and_weights(
    settings: NodeSettings, redis: Redis
):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.AutoConfig.for_model(
        "vit", num_labels=10, image_size=8, num_channels=1, patch_size=4, **sizes
    )
    transformers.AutoModelForImageClassification.from_config(config).save_pretrained(settings.data_root / "own-vit")
    start = {"source": "folder", "path": "own-vit"}
    spec = a_spec(student={"source": "transformers", "model_type": "vit", "init_from": start})
    checked = check(a_record("from-folder", spec), settings, redis)
    assert checked.spec.student.config.items() >= sizes.items()


PEERS = [{"kind": "labels"}, {"kind": "soft_targets", "target": {"from": "peers"}}]


def test_a_peer_of_a_folder_of_transformers_takes_its_configuration_and_weights(settings: NodeSettings, redis: Redis):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.AutoConfig.for_model(
        "vit", num_labels=10, image_size=8, num_channels=1, patch_size=4, **sizes
    )
    saved = transformers.AutoModelForImageClassification.from_config(config)
    saved.save_pretrained(settings.data_root / "peers-vit")
    start = {"source": "folder", "path": "peers-vit"}
    peer = {"source": "transformers", "model_type": "vit", "init_from": start}
    record = a_record("from-folder", a_spec(scheme={"kind": "online", "peers": [MLP, peer]}, objective=PEERS))

    ready = prepared(record, settings, redis)

    *_, built = ready.session.training.learner.students
    expected = saved.state_dict()
    assert built.net.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in built.net.state_dict().items())


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (MLP | {"init_from": {"source": "file", "path": "none.safetensors"}}, "init_from.path"),
        (MLP | {"init_from": {"source": "file", "path": "no-mlp.safetensors"}}, "init_from"),
        (MLP | {"init_from": {"source": "job", "job": "never-was"}}, "init_from.job"),
        ({"source": "transformers", "model_type": "vit", "init_from": {"source": "folder", "path": "none"}},
         "init_from.path"),
        ({"source": "transformers", "model_type": "no-such"}, "model_type"),
        ({"source": "zoo", "name": "text-cnn"}, "name"),
        ({"source": "plugin", "import": "ours.nets:small"}, "import"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 1])
def test_what_is_wrong_with_a_peer_is_said_of_that_peer(
    settings: NodeSettings, redis: Redis, wrong: dict[str, Any], field: str, place: int
):
    save_file({"weight": torch.zeros(3)}, settings.data_root / "no-mlp.safetensors")
    peers = [MLP, wrong] if place else [wrong, MLP]
    record = a_record("wrong-peer", a_spec(scheme={"kind": "online", "peers": peers}, objective=PEERS))
    with pytest.raises(StillhouseError, match=f"^scheme.peers.{place}.{field}: ") as error:
        check(record, settings, redis)
    assert error.value.details["field"] == f"scheme.peers.{place}.{field}"


@pytest.mark.parametrize(
    ("changes", "refused"),
    [({}, False), ({"pad_id": 1}, True), ({"tokenizer": "sha256:" + "1" * 64}, True), ({"tokenizer": None}, False)],
)
def test_a_teacher_whose_token_ids_mean_other_words_is_refused(changes: dict[str, Any], refused: bool):
    taken = TokensInput(length=8, vocabulary=30, tokenizer=ZERO)
    teacher = a_teacher(classes=DIGITS)
    manifest = teacher.manifest.model_copy(update={"input": taken.model_copy(update=changes)})
    teacher = teacher.model_copy(update={"manifest": manifest})
    with pytest.raises(InvalidSpec, match="8 token ids padded") if refused else nullcontext():
        check_input(teacher, taken, field="teachers.0.name")


def test_a_plugin_that_the_node_does_not_list_is_refused(settings: NodeSettings, redis: Redis):
    student = {"source": "plugin", "import": "tests.student_worker.own_nets:net", "args": {"units": 4}}
    record = a_record("plugin", a_spec(student=student))
    with pytest.raises(InvalidSpec, match="not on the list of the operator") as error:
        check(record, settings, redis)
    assert error.value.details["field"] == "student.import"

    listed = settings.model_copy(update={"plugins": ("tests.student_worker.own_nets:net",)})
    assert architecture(check(record, listed, redis).spec.student).model_dump() == student


def test_a_training_does_not_go_on_with_other_data(settings: NodeSettings, redis: Redis):
    record = a_record("other-data", a_spec())
    facts = check(record, settings, redis).facts
    saved = CheckpointRef(path="runs/other-data/1/checkpoints/step-00000010", digest=ZERO, epoch=1, step=10, attempt=1)
    resumed = record.model_copy(update={"dataset": facts, "checkpoint": saved})
    assert check(resumed, settings, redis).facts == facts
    changed = resumed.model_copy(update={"dataset": facts.model_copy(update={"digest": ZERO})})
    with pytest.raises(InvalidData, match="not the data that the job's checkpoint was trained on"):
        check(changed, settings, redis)
    assert check(changed.model_copy(update={"checkpoint": None}), settings, redis).facts == facts


def test_a_batch_larger_than_the_data_is_refused(settings: NodeSettings, redis: Redis):
    with pytest.raises(InvalidSpec, match="larger than the data"):
        check(a_record("batch", a_spec(training={"batch_size": 5000})), settings, redis)


def test_weights_to_start_from_must_be_of_a_job_that_finished(settings: NodeSettings, redis: Redis):
    spec = a_spec(student=MLP | {"init_from": {"source": "job", "job": "never-was"}})
    with pytest.raises(InvalidSpec, match="there is no such job"):
        check(a_record("orphan", spec), settings, redis)


@pytest.mark.parametrize(
    ("path", "error"),
    [("none.safetensors", InvalidData), ("../out", InvalidData), ("other.safetensors", InvalidWeights)],
)
def test_a_file_to_start_from_must_be_there_inside_the_data_root_and_fit(
    settings: NodeSettings, redis: Redis, path: str, error: type[Exception]
):
    save_file({"weight": torch.zeros(3)}, settings.data_root / "other.safetensors")
    student: dict[str, Any] = MLP | {"init_from": {"source": "file", "path": path}}
    with pytest.raises(error):
        check(a_record("file", a_spec(student=student)), settings, redis)


VIT = {
    "source": "transformers",
    "model_type": "vit",
    "config": {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "patch_size": 4,
    },
}
SOFT_TARGETS = {"kind": "soft_targets"}


def a_refused(settings: NodeSettings, redis: Redis, **changes: Any) -> InvalidSpec:
    """Why a student of digits with two teachers' maps and vectors is refused."""
    teacher = a_teacher(classes=DIGITS)
    members = tuple(m.model_copy(update={"taps": {"map": (4, 8, 8), "vector": (9,)}}) for m in teacher.manifest.members)
    wise = teacher.model_copy(update={"manifest": teacher.manifest.model_copy(update={"members": members})})
    spec = a_spec(**{"teachers": [{"name": wise.reference}], "objective": [SOFT_TARGETS]} | changes)
    with pytest.raises(InvalidSpec) as error:
        check(a_record("refused", spec, teachers=(wise,)), settings, redis)
    return error.value


def test_heads_that_do_not_fold_are_refused_before_they_are_trained(settings: NodeSettings, redis: Redis):
    heads = {"combine": "per_member_heads", "aggregate": "mean_logit", "export": "folded"}
    error = a_refused(settings, redis, student=VIT, ensemble=heads)
    assert error.details["field"] == "ensemble.export"
    assert "can't be folded" in error.message


def test_the_best_member_is_not_chosen_without_labelled_validation_rows(settings: NodeSettings, redis: Redis):
    images = np.zeros((40, 1, 8, 8), np.uint8)
    np.savez(settings.data_root / "nobody.npz", inputs=images, labels=np.full(40, -1))
    np.savez(settings.data_root / "somebody.npz", inputs=images, labels=np.arange(40) % 10)
    files = {"source": "npz", "train": "nobody.npz", "test": "somebody.npz"}
    unlabelled = files | {"classes": list(DIGITS), "labels": {"kind": "none"}}
    best = {"combine": "mean_probability", "members": {"kind": "best"}}
    error = a_refused(settings, redis, dataset=unlabelled, ensemble=best, training={"batch_size": 8})
    assert error.details["field"] == "ensemble.members.kind"


@pytest.mark.parametrize(
    ("term", "field", "said"),
    [
        ({"kind": "hint", "pairs": [{"student": "stages.0", "teacher": "map"}]}, "objective.1.pairs.0", "can't be bridged"),
        ({"kind": "attention", "pairs": [{"student": "stages.0", "teacher": "vector"}]}, "objective.1.pairs.0",
         "'vector' gives (9,): attention needs maps"),
        ({"kind": "hint", "regressor": "identity", "pairs": [{"student": "stages.0", "teacher": "vector"}]},
         "objective.1.pairs.0", "is 16 wide and 'vector' 9"),
        ({"kind": "hint", "pairs": [{"student": "stages.1", "teacher": "vector"}]}, "objective.1.pairs.0.student",
         "has no module 'stages.1'"),
    ],
)  # fmt: skip
def test_features_of_the_pool_that_no_bridge_joins_are_refused_before_it_is_asked(
    settings: NodeSettings, redis: Redis, term: dict[str, Any], field: str, said: str
):
    error = a_refused(settings, redis, objective=[SOFT_TARGETS, term])
    assert error.details["field"] == field
    assert said in error.message
