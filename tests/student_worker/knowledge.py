"""A small, trained ensemble on digits, and jobs that learn from it in this process."""

from collections.abc import Iterator
from typing import Any

import torch
from redis import Redis

from distill.contracts.datasets import DigitsData
from distill.contracts.job import JobSpec
from distill.contracts.models import ModelSpec, ZooArgs, ZooModel
from distill.contracts.records import CheckpointRef, JobRecord
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import CheckedMember, ResolvedTeacher
from distill.science.datasets import Dataset, load
from distill.science.inference import predict
from distill.science.models import build
from distill.science.weights import save_model
from examples.in_process import OpenPool, a_record, prepared, publish, teachers_here, train
from student_worker import checkpoints
from student_worker.ranks import Stop
from student_worker.session import Session

MEMBERS = (
    ZooModel(name="cnn", args=ZooArgs(width=12)),
    ZooModel(name="resnet8", args=ZooArgs(width=8)),
)


def a_trained_teacher(settings: NodeSettings, name: str = "wise") -> ResolvedTeacher:
    """Two members of different architectures, trained on all labels of digits, published."""
    torch.set_num_threads(1)
    data = load(DigitsData(source="digits"), settings)
    members = [a_member(data, spec, settings, f"{name}-{place}") for place, spec in enumerate(MEMBERS)]
    return publish(name, members, settings)


def a_member(data: Dataset, spec: ModelSpec, settings: NodeSettings, name: str) -> CheckedMember:
    """A net trained on all labels of digits, saved as a finished job's student would be."""
    torch.manual_seed(0)
    model = build(spec, input=data.input, num_classes=10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(80):
        rows = data.train_rows[torch.randint(len(data.train_rows), (64,))]
        loss = torch.nn.functional.cross_entropy(model(data.inputs[rows]), data.labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    folder = f"runs/{name}/1/student"
    save_model(model, settings.storage / folder, spec=spec, input=data.input, classes=data.facts.classes)
    return CheckedMember(folder=folder, job=name)


def a_job(settings: NodeSettings, job: str, teachers: tuple[ResolvedTeacher, ...], **changes: Any) -> JobRecord:
    """A student CNN on digits, 200 labels, taught by ``teachers``; 11 steps an epoch."""
    content: dict[str, Any] = {
        "name": "small",
        "dataset": {"source": "digits", "labels": {"kind": "count", "count": 200}},
        "student": {"source": "zoo", "name": "cnn", "args": {"width": 8}},
        "teachers": [{"name": teacher.reference} for teacher in teachers],
        "training": {"epochs": 2, "batch_size": 96, "optimizer": {"kind": "adamw", "lr": 0.005}},
        "answers": {"precision": "fp32"},
    }
    return a_record(job, JobSpec.model_validate(content | changes), teachers=teachers)


def trained(
    record: JobRecord, settings: NodeSettings, redis: Redis, *, attempt: int = 1, stop_at: int | None = None
) -> Session:
    """Train in this process with the teachers in this process, and pause before step ``stop_at``."""

    def wanted(session: Session) -> Stop:
        return Stop.PAUSE if session.steps_done == stop_at else Stop.NO

    return train(record, settings, redis, attempt=attempt, wanted=wanted).session


def step_by_step(
    record: JobRecord, settings: NodeSettings, redis: Redis, open_pool: OpenPool = teachers_here
) -> Iterator[tuple[Session, float]]:
    """The same training a step at a time, without measuring or saving: the session after each step, and its loss."""
    ready = prepared(record, settings, redis, open_pool=open_pool)
    for number, (batch, said) in enumerate(ready.lessons):
        yield ready.session, float(ready.session.training.step(batch, said, number=number))


def resumed(record: JobRecord, settings: NodeSettings, redis: Redis, *, cut: int) -> Session:
    """The same training, paused before step ``cut`` and taken up again by a second attempt."""
    trained(record, settings, redis, stop_at=cut)
    folder = settings.storage / "runs" / record.id / "1" / "checkpoints" / f"step-{cut:08d}"
    path = folder.relative_to(settings.storage).as_posix()
    saved = CheckpointRef(path=path, digest=checkpoints.digest(folder), epoch=0, step=cut, attempt=1)
    return trained(record.model_copy(update={"checkpoint": saved}), settings, redis, attempt=2)


def accuracy(session: Session, settings: NodeSettings) -> float:
    """Of the student that is exported, on test rows."""
    data = load(DigitsData(source="digits"), settings)
    named_N = predict(session.training.model, data.test_inputs).argmax(dim=1)
    return float((named_N == data.test_labels).float().mean())
