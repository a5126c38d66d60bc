"""Mistakes that people make in what they post, and the answer that each must get: code, field, and where it is found.

`files` lays down the data that they name. ``python -m tests.bad_input`` shows the answers of a running stack as a table.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors.torch import save_file

JOB: dict[str, Any] = {
    "name": "mistaken",
    "dataset": {"source": "digits"},
    "student": {"source": "zoo", "name": "mlp", "args": {"hidden": [8]}},
    "training": {"epochs": 1},
    "limits": {"max_failures": 0},
}
"""A job file without a mistake; each case changes some of it."""

STUDY: dict[str, Any] = {"name": "mistaken", "job": JOB}
"""A study file without a mistake."""

SOFT_TARGETS = [{"kind": "labels", "weight": 0.1}, {"kind": "soft_targets", "weight": 0.9}]


HEAD_TO_STAGE = {"pairs": [{"student": "stages.0", "teacher": "head"}], "target": {"from": "self"}}
ONLINE = {"kind": "online", "peers": [{"source": "zoo", "name": "cnn"}]}


@dataclass(frozen=True)
class Mistake:
    """One mistake: ``change`` is merged into `JOB`."""

    what: str
    code: str
    field: str | None
    change: Mapping[str, Any] = field(default_factory=dict)
    body: str | None = None
    """Posted as it is, where the mistake isn't one of JSON's content."""

    def job(self) -> dict[str, Any]:
        """The job file with the mistake."""
        return _merged(JOB, self.change)


@dataclass(frozen=True)
class StudyMistake(Mistake):
    """One mistake in a study: ``change`` is merged into `STUDY`."""

    def study(self) -> dict[str, Any]:
        """The study file with the mistake."""
        return _merged(STUDY, self.change)


def arrays(path: str, **more: Any) -> dict[str, Any]:
    """A dataset section that names an own file."""
    return {"dataset": {"source": "npz", "train": path} | more}


def start_from(path: str) -> dict[str, Any]:
    """A student that starts from an own weights file."""
    return {"student": {"init_from": {"source": "file", "path": path}}}


def labels_weighing(weight: Any) -> dict[str, Any]:
    """The labels' term alone, with this weight."""
    return {"objective": [{"kind": "labels", "weight": weight}]}


def taught(term: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """One term of a teacher that is there, changed."""
    return {"teachers": [{"name": "mistaken-for@1"}], "objective": [{"kind": "soft_targets", **(term or {})}], **more}


def self_taught(term: Mapping[str, Any], **scheme: Any) -> dict[str, Any]:
    """Labels, and a term of the scheme ``self``."""
    return {"scheme": {"kind": "self", **scheme}, "objective": [{"kind": "labels"}, term]}


AT_SUBMIT = (
    Mistake("not JSON", "invalid_json", None, body="name: mistaken"),
    Mistake("a body of 2 MB", "too_large", None, body='{"name": "' + "x" * (2 << 20) + '"}'),
    Mistake("a key misspelt", "invalid_spec", "training.epoch", {"training": {"epoch": 3}}),
    Mistake("a wrong type", "invalid_spec", "training.batch_size", {"training": {"batch_size": "many"}}),
    Mistake("a number out of bounds", "invalid_spec", "training.optimizer.lr",
            {"training": {"optimizer": {"kind": "sgd", "lr": -1}}}),
    Mistake("a name with shell characters", "invalid_spec", "name", {"name": "x; rm -rf $HOME"}),
    Mistake("an unknown architecture", "invalid_spec", "student.name", {"student": {"name": "resnet9000"}}),
    Mistake("an unknown kind of term", "invalid_spec", "objective.0.kind", {"objective": [{"kind": "telepathy"}]}),
    Mistake("a term for teachers, and none named", "invalid_spec", "objective.1.target", {"objective": SOFT_TARGETS}),
    Mistake("a schedule that goes on after the end", "invalid_spec", "objective.0.weight.end",
            labels_weighing({"kind": "linear", "start": 0, "stop": 1, "end": 2})),
    Mistake("a schedule that runs backwards", "invalid_spec", "objective.0.weight",
            labels_weighing({"kind": "cosine", "start": 0, "stop": 1, "begin": 0.5, "end": 0.25})),
    Mistake("moments that don't rise", "invalid_spec", "objective.0.weight",
            labels_weighing({"kind": "steps", "values": [1, 2, 3], "at": [0.5, 0.2]})),
    Mistake("a moment too few", "invalid_spec", "objective.0.weight",
            labels_weighing({"kind": "steps", "values": [1, 2, 3], "at": [0.5]})),
    Mistake("a schedule without its kind", "invalid_spec", "objective.0.weight", labels_weighing({"start": 0, "stop": 1})),
    Mistake("weights that are all 0", "invalid_spec", "objective", labels_weighing(0)),
    Mistake("weights that are all 0 for a while", "invalid_spec", "objective",
            labels_weighing({"kind": "steps", "values": [0, 1], "at": [0.5]})),
    Mistake("a temperature of 0", "invalid_spec", "objective.0.temperature", taught({"temperature": 0})),
    Mistake("a temperature that falls to 0", "invalid_spec", "objective.0.temperature",
            taught({"temperature": {"kind": "linear", "start": 4, "stop": 0}})),
    Mistake("a target that no source is called", "invalid_spec", "objective.0.target.from", taught({"target": {"from": "moon"}})),
    Mistake("peers to learn from, and none trained", "invalid_spec", "objective.0.target", taught({"target": {"from": "peers"}})),
    Mistake("an average to learn from, and none kept", "invalid_spec", "objective.0.target",
            {"scheme": {"kind": "self"}} | taught({"target": {"from": "average"}})),
    Mistake("a fused head to learn from, and none trained", "invalid_spec", "objective.0.target",
            {"scheme": ONLINE} | taught({"target": {"from": "fused"}})),
    Mistake("peers that nothing is learned from", "invalid_spec", "scheme.peers", {"scheme": ONLINE}),
    Mistake("fusion of more networks than there are", "invalid_spec", "scheme.fusion.taps",
            {"scheme": ONLINE | {"fusion": {"taps": ["head", "head", "head"]}}} | taught({"target": {"from": "fused"}})),
    Mistake("the last layer, taught by itself", "invalid_spec", "objective.0.at",
            {"scheme": {"kind": "self"}} | taught({"target": {"from": "self"}})),
    Mistake("an unknown way to combine", "invalid_spec", "ensemble.combine", taught(ensemble={"combine": "vote"})),
    Mistake("an unknown choice of members", "invalid_spec", "ensemble.members.kind",
            taught(ensemble={"combine": "mean_logit", "members": {"kind": "oldest"}})),
    Mistake("a member that the mask names, and nobody is", "invalid_spec", "ensemble.members.values.1", taught(
        ensemble={"combine": "mean_logit", "members": {"kind": "steps", "values": [[0], [3]], "at": [0.5]}})),
    Mistake("weights for another number of members", "invalid_spec", "ensemble.weights",
            taught(ensemble={"combine": "weighted", "weights": [1, 1]})),
    Mistake("weights of 0 for all who speak at a step", "invalid_spec", "ensemble.weights",
            taught(ensemble={"combine": "weighted", "weights": [1, 0, 1], "members": {"kind": "in_order"}})),
    Mistake("a term for a member of weight 0", "invalid_spec", "objective.0.target",
            taught({"target": {"from": "served", "teacher": 0, "member": 1}},
                   ensemble={"combine": "weighted", "weights": [1, 0, 1]})),
    Mistake("to fold heads that are no mean of logits", "invalid_spec", "ensemble.export",
            taught(ensemble={"combine": "per_member_heads", "export": "folded"})),
    Mistake("a module that the teacher doesn't have", "invalid_spec", "objective.0.pairs.0.teacher",
            taught({"kind": "hint", "pairs": [{"student": "stages.0", "teacher": "stage.0"}]})),
    Mistake("an unknown teacher", "unknown_teacher", "teachers.0.name",
            {"teachers": [{"name": "nobody@1"}], "objective": SOFT_TARGETS}),
    Mistake("as many of the greatest classes as there are", "invalid_spec", "answers.top_k",
            taught(answers={"top_k": 10})),
    Mistake("a teacher whose classes are others", "invalid_spec", "teachers.0.name",
            {"teachers": [{"name": "mistaken-for@1"}], "objective": SOFT_TARGETS, "dataset": {"source": "fashion-mnist"}}),
    Mistake("a member that the teacher doesn't have", "invalid_spec", "objective.1.target.member",
            {"teachers": [{"name": "mistaken-for@1"}],
             "objective": [SOFT_TARGETS[0], SOFT_TARGETS[1] | {"target": {"from": "served", "teacher": 0, "member": 7}}]}),
    Mistake("a batch that the workers can't share", "invalid_spec", "training.batch_size",
            {"compute": {"workers": 2}, "training": {"batch_size": 33}}),
    Mistake("labels of none, and no teacher", "invalid_spec", "dataset.labels", {"dataset": {"labels": {"kind": "none"}}}),
    Mistake("a path outside the data root", "invalid_spec", "dataset.train", arrays("../../etc/passwd")),
    Mistake("a link that leaves the data root", "invalid_spec", "dataset.train", arrays("link.npz")),
    Mistake("a missing file", "invalid_spec", "dataset.train", arrays("never-was.npz")),
    Mistake("to start from a job that never was", "invalid_spec", "student.init_from.job",
            {"student": {"init_from": {"source": "job", "job": "never-was"}}}),
    Mistake("more than the cluster has", "no_room", "compute", {"compute": {"workers": 64, "cpus_per_worker": 8}}),
)  # fmt: skip
"""Found when the job is posted: no record is made."""

AT_SUBMIT_OF_STUDY = (
    StudyMistake("a study that trains a seed twice", "invalid_spec", "seeds", {"seeds": [0, 1, 0]}),
    StudyMistake("a sweep over an unknown student", "invalid_spec", "sweep.0.student.name",
                 {"sweep": [{"name": "huge", "student": {"source": "zoo", "name": "resnet9000"}}]}),
    StudyMistake("two points of a sweep with one name", "invalid_spec", "sweep.1.name",
                 {"sweep": [{"name": "a", "student": {"source": "zoo", "name": name}} for name in ("mlp", "cnn")]}),
    StudyMistake("a point that starts from a missing file", "invalid_spec", "sweep.0.student.init_from.path",
                 {"sweep": [{"name": "own", "student": JOB["student"] | start_from("never-was.safetensors")["student"]}]}),
    StudyMistake("more jobs than a study may have", "invalid_spec", "seeds", {
        "seeds": list(range(20)), "generations": 8, "later_objective": SOFT_TARGETS}),
    StudyMistake("generations that nothing is taught by", "invalid_spec", "job.objective", {"generations": 2}),
    StudyMistake("a baseline without labels", "invalid_spec", "baseline",
                 {"job": {"teachers": [{"name": "mistaken-for@1"}], "objective": SOFT_TARGETS,
                          "dataset": {"labels": {"kind": "none"}}}}),
)  # fmt: skip
"""The same, for a study."""

AT_CHECK = (
    Mistake("a batch larger than the data", "invalid_spec", "training.batch_size", {"training": {"batch_size": 5000}}),
    Mistake("rows that the data doesn't have", "invalid_data", "dataset.rows.start", {"dataset": {"rows": {"start": 5000}}}),
    Mistake("more labels than rows", "invalid_data", "dataset.labels.count",
            {"dataset": {"labels": {"kind": "count", "count": 9999}}}),
    Mistake("a module that the student doesn't have", "invalid_spec", "objective.1.pairs.0.student",
            self_taught({"kind": "hint", "pairs": [{"student": "stage.0", "teacher": "head"}], "target": {"from": "self"}})),
    Mistake("an auxiliary head where no module is", "invalid_spec", "objective.1.at",
            self_taught({"kind": "soft_targets", "at": "stages.9", "target": {"from": "self"}})),
    Mistake("shapes that an identity can't bridge", "invalid_spec", "objective.1.pairs.0",
            self_taught({"kind": "hint", "regressor": "identity"} | HEAD_TO_STAGE)),
    Mistake("attention on what has no positions", "invalid_spec", "objective.1.pairs.0",
            self_taught({"kind": "attention"} | HEAD_TO_STAGE)),
    Mistake("fusion at a module that a peer doesn't have", "invalid_spec", "scheme.fusion.taps.1",
            {"scheme": ONLINE | {"fusion": {"taps": ["head", "stages.9"]}},
             "objective": [{"kind": "labels"}, {"kind": "soft_targets", "target": {"from": "fused"}}]}),
    Mistake("another view of what is no image", "invalid_spec", "scheme.view.transform",
            arrays("fine.npz") | {"training": {"batch_size": 8}} | self_taught(
                {"kind": "soft_targets", "target": {"from": "view"}}, view={})),
    Mistake("a truncated data file", "invalid_data", "dataset.train", arrays("torn.npz")),
    Mistake("an array that the file doesn't hold", "invalid_data", "dataset.train",
            arrays("fine.npz", input_array="pixels")),
    Mistake("truncated weights", "invalid_weights", "student.init_from", start_from("torn.safetensors")),
    Mistake("a pickle for weights", "invalid_weights", "student.init_from", start_from("model.pt")),
    Mistake("weights of another model", "invalid_weights", "student.init_from", start_from("other.safetensors")),
)  # fmt: skip
"""Found by the attempt's check, before any worker or teacher is asked for: the job FAILS, and is not tried again."""


def files(root: Path) -> None:
    """Lay down the files that the cases name."""
    rows = numpy.random.default_rng(0)
    numpy.savez(root / "fine.npz", inputs=rows.random((64, 4), dtype=numpy.float32), labels=numpy.arange(64) % 4)
    (root / "torn.npz").write_bytes((root / "fine.npz").read_bytes()[:300])
    (root / "link.npz").symlink_to("/etc/hostname")
    save_file({"some.weight": torch.zeros(3)}, root / "other.safetensors")
    (root / "torn.safetensors").write_bytes((root / "other.safetensors").read_bytes()[:40])
    torch.save({"some.weight": torch.zeros(3)}, root / "model.pt")


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(dict(one))
    for key, value in other.items():
        old = merged.get(key)
        replaces = not (isinstance(old, dict) and isinstance(value, dict)) or value.get(
            "source", old.get("source")
        ) != old.get("source")
        merged[key] = value if replaces else _merged(old, value)
    return merged
