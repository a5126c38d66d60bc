"""A small, trained ensemble on digits, and jobs that learn from it in this process."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from redis import Redis

from distill.contracts.datasets import DigitsData
from distill.contracts.job import JobSpec
from distill.contracts.models import ModelSpec, ZooArgs, ZooModel
from distill.contracts.records import CheckpointRef, JobRecord
from distill.contracts.settings import NodeSettings
from distill.contracts.taps import MemberTap
from distill.contracts.teachers import CheckedMember, ResolvedTeacher
from distill.science.datasets import Dataset, load
from distill.science.inference import predict
from distill.science.models import build
from distill.science.weights import save_model
from student_worker import checkpoints
from student_worker.plan import Plan
from student_worker.pool import Pool
from student_worker.ranks import Ranks, Stop
from student_worker.reporting import Reporter
from student_worker.session import Session
from student_worker.setup import make_training, prepare
from student_worker.targets import Lesson
from teacher_server.examination import examine
from teacher_server.local import LocalPool
from tests.student_worker.jobs import a_record
from tests.teacher_server.small_teachers import a_version, folder_of, resolved

CPU = torch.device("cpu")
MEMBERS = (
    ZooModel(name="cnn", args=ZooArgs(width=12)),
    ZooModel(name="resnet8", args=ZooArgs(width=8)),
)


def a_trained_teacher(settings: NodeSettings, name: str = "wise") -> ResolvedTeacher:
    """Two members of different architectures, trained on all labels of digits, published."""
    torch.set_num_threads(1)
    data = load(DigitsData(source="digits"), settings)
    members = [_trained(data, spec, settings, f"{name}-{place}") for place, spec in enumerate(MEMBERS)]
    return resolved(examine(name, a_version(*members), folder_of(settings, name), settings))


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


OpenPool = Callable[[JobRecord, NodeSettings, Sequence[MemberTap]], Pool | None]


def in_process(record: JobRecord, settings: NodeSettings, taps: Sequence[MemberTap]) -> Pool | None:
    """The teachers in this process."""
    if not record.teachers:
        return None
    return LocalPool(record.teachers, storage=settings.storage, precision=record.spec.answers.precision, taps=taps)


def trained(
    record: JobRecord, settings: NodeSettings, redis: Redis, *, attempt: int = 1, stop_at: int | None = None
) -> Session:
    """Train in this process with the teachers in this process, and pause before step ``stop_at``."""
    session, lessons = _prepared(record, settings, redis, in_process, attempt=attempt, stop_at=stop_at)
    session.teach(lessons)
    return session


def step_by_step(
    record: JobRecord, settings: NodeSettings, redis: Redis, open_pool: OpenPool = in_process
) -> Iterator[tuple[Session, float]]:
    """The same training a step at a time, without measuring or saving: the session after each step, and its loss."""
    session, lessons = _prepared(record, settings, redis, open_pool)
    for number, (batch, said) in enumerate(lessons):
        yield session, float(session.training.step(batch, said, number=number))


def _prepared(
    record: JobRecord,
    settings: NodeSettings,
    redis: Redis,
    open_pool: OpenPool,
    *,
    attempt: int = 1,
    stop_at: int | None = None,
) -> tuple[Session, Iterator[Lesson]]:
    # more threads than cores wait for each other longer than they compute
    torch.set_num_threads(1)
    dataset = load(record.spec.dataset, settings)
    num_steps = dataset.facts.num_train // record.spec.training.batch_size * record.spec.training.epochs
    plan = Plan(record=record, attempt=attempt, started_at=0.0, checked_at=0.0, num_steps=num_steps)
    reporter = Reporter(None, attempt=attempt, training=record.spec.training, num_steps=num_steps)
    ranks = Ranks(0, 1, CPU)
    training = make_training(plan, settings, redis, ranks, dataset)
    sessions: list[Session] = []
    session, lessons = prepare(
        plan,
        settings,
        ranks,
        reporter,
        dataset,
        training,
        open_pool(record, settings, training.learner.served_taps),
        wanted=lambda: Stop.PAUSE if sessions[0].steps_done == stop_at else Stop.NO,
        applied=lambda: None,
    )
    sessions.append(session)
    return session, lessons


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


def _trained(data: Dataset, spec: ModelSpec, settings: NodeSettings, name: str) -> CheckedMember:
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
