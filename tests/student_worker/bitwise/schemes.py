"""The jobs of the table: every way to be taught, each with all that a cut could lose.

Dropout, views, labelled and unlabelled rows in one batch, a schedule of the learning rate, an optimiser with a memory.
"""

from collections.abc import Mapping
from typing import Any

from distill.contracts.datasets import DigitsData
from distill.contracts.job import JobSpec
from distill.contracts.models import ZooArgs, ZooModel
from distill.contracts.records import JobRecord
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import ResolvedTeacher
from distill.science.datasets import load
from examples.in_process import a_record, publish
from tests.student_worker.knowledge import a_member, a_trained_teacher
from tests.student_worker.test_knowledge import ANSWERS, FEATURES

DATASET: dict[str, Any] = {
    "source": "digits",
    "labels": {"kind": "count", "count": 200},
    "augmentation": {"policy": "crop-flip", "views": 2},
}
CNN = {"source": "zoo", "name": "cnn", "args": {"width": 6, "dropout": 0.3}}
MLP = {"source": "zoo", "name": "mlp", "args": {"hidden": [24, 16], "dropout": 0.3}}
SGD = {
    "epochs": 3,
    "batch_size": 128,
    "optimizer": {"kind": "sgd", "lr": 0.05},
    "schedule": {"kind": "cosine", "warmup_steps": 4},
}
ADAMW = SGD | {"optimizer": {"kind": "adamw", "lr": 0.005}, "gradient_clip": 1.0}
LONGER = SGD | {"epochs": 12, "optimizer": {"kind": "sgd", "lr": 0.2}, "schedule": {"kind": "constant"}}

LABELS = {"kind": "labels", "weight": {"kind": "linear", "start": 1.0, "stop": 0.2}}
SOFT = {"kind": "soft_targets", "temperature": {"kind": "steps", "values": [4.0, 2.0], "at": [0.5]}}
HINT = {"kind": "hint", "pairs": [{"student": "stages.1", "teacher": "stages.1"}]}
EARLY = {"at": "stages.0", "weight": 0.5}


def _from(source: str) -> dict[str, Any]:
    return SOFT | {"target": {"from": source}}


def _between(student: str, teacher: str, source: str) -> dict[str, Any]:
    pairs = [{"student": student, "teacher": teacher}]
    return {"kind": "attention", "weight": 100.0, "pairs": pairs, "target": {"from": source}}


TAUGHT = ("wise",)
SCHEMES: Mapping[str, dict[str, Any]] = {
    "offline: labels alone": {"training": SGD},
    "offline: served answers": {"teachers": TAUGHT, "objective": [LABELS, SOFT], "answers": {"precision": "fp16"}},
    "offline: served answers, no label": {
        "teachers": TAUGHT,
        "dataset": DATASET | {"labels": {"kind": "none"}},
        "ensemble": {"combine": "each"},
        "objective": [SOFT],
        "training": SGD,
    },
    "offline: served answers, their greatest classes, in bfloat16": {
        "teachers": TAUGHT,
        "ensemble": {"combine": "mean_logit"},
        "objective": [LABELS, SOFT],
        "answers": {"top_k": 3},
        "training": ADAMW | {"precision": "bf16"},
    },
    "offline: every term on answers": {
        "teachers": TAUGHT,
        "ensemble": {"combine": "geometric_mean"},
        "objective": [LABELS, *ANSWERS.values()],
    },
    "offline: every term on features": {
        "teachers": TAUGHT,
        "ensemble": {"combine": "weighted", "weights": [1.0, 3.0]},
        "objective": [LABELS, SOFT, *FEATURES.values()],
    },
    "offline: a label-aware ensemble, also for early layers": {
        "teachers": TAUGHT,
        "ensemble": {"combine": "label_aware"},
        "objective": [LABELS, SOFT, SOFT | EARLY, HINT],
        "training": SGD,
    },
    "offline: members in turns, a head for each": {
        "teachers": TAUGHT,
        "ensemble": {"combine": "per_member_heads", "members": {"kind": "in_order"}},
        "objective": [LABELS, SOFT, HINT],
    },
    "offline: a member by chance, heads that fold": {
        "teachers": TAUGHT,
        "ensemble": {
            "combine": "per_member_heads",
            "aggregate": "mean_logit",
            "export": "folded",
            "members": {"kind": "random"},
        },
        "objective": [LABELS, SOFT],
    },
    "offline: one member, then both; snapshots": {
        "teachers": TAUGHT,
        "ensemble": {
            "combine": "entropy",
            "members": {"kind": "steps", "values": [[1], [0, 1]], "at": [0.4]},
        },
        "objective": [LABELS, SOFT],
        "training": ADAMW | {"snapshots": 3},
    },
    "offline: the best member, the best epoch, an early end": {
        "student": MLP,
        "teachers": TAUGHT,
        "ensemble": {"combine": "mean_probability", "members": {"kind": "best"}},
        "objective": [LABELS, SOFT],
        "training": LONGER,
        "evaluation": {"select": "best", "patience": 2},
    },
    "a second generation, born again": {"teachers": ("born",), "objective": [LABELS, SOFT], "training": SGD},
    "online: peers": {
        "scheme": {"kind": "online", "peers": [CNN, MLP]},
        "objective": [LABELS, _from("peers")],
        "training": SGD,
    },
    "online: peers with a fused head": {
        "scheme": {"kind": "online", "peers": [CNN], "fusion": {"taps": ["stages.2", "stages.1"], "channels": 8}},
        "objective": [LABELS, _from("peers"), _from("fused"), _between("stages.1", "stages.1", "peers")],
    },
    "online: peers and a served teacher, a head for each member": {
        "teachers": TAUGHT,
        "scheme": {"kind": "online", "peers": [MLP]},
        "ensemble": {"combine": "per_member_heads"},
        "objective": [LABELS, SOFT, _from("peers")],
    },
    "self: the last layer": {
        "scheme": {"kind": "self"},
        "objective": [LABELS, _from("self") | EARLY, _between("stages.0", "stages.1", "self")],
        "training": SGD,
    },
    "self: a moving average": {
        "scheme": {"kind": "self", "average": {"decay": 0.9}},
        "objective": [LABELS, _from("average")],
    },
    "self: a flipped view": {
        "scheme": {"kind": "self", "view": {"transform": "flip"}},
        "objective": [LABELS, _between("stages.1", "stages.1", "view")],
        "training": SGD,
    },
    "self: a rotated view": {
        "scheme": {"kind": "self", "view": {"transform": "rotate"}},
        "objective": [LABELS, _between("stages.1", "stages.1", "view")],
    },
    "self: average, view, last layer, and a served teacher": {
        "teachers": TAUGHT,
        "scheme": {"kind": "self", "average": {"decay": 0.9}, "view": {"transform": "flip"}},
        "objective": [
            LABELS,
            SOFT,
            HINT,
            _from("self") | EARLY,
            _from("average"),
            _between("stages.1", "stages.1", "view"),
        ],
    },
}
"""What a job says beside data, student and training; ``teachers`` names some of `published`."""


def published(settings: NodeSettings) -> dict[str, ResolvedTeacher]:
    """The teachers: two members of different architectures, and one of the students' own."""
    wise, data = a_trained_teacher(settings), load(DigitsData(source="digits"), settings)
    student = a_member(data, ZooModel(name="cnn", args=ZooArgs(width=6, dropout=0.3)), settings, "born-0")
    return {"wise": wise, "born": publish("born", [student], settings)}


def a_job(scheme: str, teachers: Mapping[str, ResolvedTeacher], *, workers: int, job: str) -> JobRecord:
    """The job of one row."""
    changes = SCHEMES[scheme]
    taught_by = [teachers[name] for name in changes.get("teachers", ())]
    content: dict[str, Any] = {
        "name": "cut",
        "dataset": DATASET,
        "student": CNN,
        "objective": [LABELS],
        "training": ADAMW,
        "compute": {"workers": workers},
    }
    content |= changes | {"teachers": [{"name": teacher.reference} for teacher in taught_by]}
    return a_record(job, JobSpec.model_validate(content), taught_by)
