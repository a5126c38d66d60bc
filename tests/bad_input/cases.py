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
    Mistake("a term for teachers, and none named", "invalid_spec", "objective", {"objective": SOFT_TARGETS}),
    Mistake("an unknown teacher", "unknown_teacher", "teachers.0.name",
            {"teachers": [{"name": "nobody@1"}], "objective": SOFT_TARGETS}),
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
