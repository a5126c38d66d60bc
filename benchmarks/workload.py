"""What the benchmarks train and who teaches it: rows, students, and teachers of a wanted cost.

Shapes: N rows of a step, M members, C classes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from redis import Redis
from torch import Tensor

from benchmarks.house import PLUGIN
from distill.contracts.datasets import ArrayData
from distill.contracts.job import JobSpec
from distill.contracts.models import ModelSpec, PluginModel
from distill.contracts.records import JobRecord
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import CheckedMember, ResolvedTeacher
from distill.science.answers import Answers
from distill.science.datasets import Dataset, load
from distill.science.models import build
from distill.science.weights import save_model
from examples.in_process import a_record, publish
from student_worker.batches import Batch, Cursor, batches, order_of
from student_worker.plan import Plan
from student_worker.pool import Pool
from student_worker.ranks import Ranks, Stop
from student_worker.reporting import Reporter
from student_worker.setup import make_training, prepare
from student_worker.targets import Lesson

NUM_ROWS, NUM_CLASSES, SIDE = 49_152, 10, 28
BATCH = 128
STUDENT = {"source": "zoo", "name": "cnn", "args": {"width": 12}}
"""The demo's: some 4,500 rows/s on one core, so no easy one to keep up with."""
OBJECTIVE = [{"kind": "soft_targets", "weight": 0.9, "temperature": 4.0}, {"kind": "labels", "weight": 0.1}]
DATA = {"source": "npz", "train": "rows.npz", "test": "test.npz"}
CPU = torch.device("cpu")
STEPS_A_TURN = 8
"""Some 0.2 s of the student."""


def write_rows(settings: NodeSettings) -> None:
    """Random images of Fashion-MNIST's size: what is on them changes no time."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (NUM_ROWS, 1, SIDE, SIDE), np.uint8)
    labels = draw.integers(0, NUM_CLASSES, NUM_ROWS)
    np.savez(settings.data_root / "rows.npz", inputs=images, labels=labels)
    np.savez(settings.data_root / "test.npz", inputs=images[:100], labels=labels[:100])


class Workshop:
    """The rows, and what learns from them and teaches them, on one node."""

    def __init__(self, settings: NodeSettings, redis: Redis) -> None:
        """The rows must have been written (`write_rows`)."""
        self.settings = settings
        self.redis = redis
        self.dataset = load(ArrayData.model_validate(DATA), settings)

    def accelerator(self, name: str, *, row_us: float, members: int = 1, note_to: str | None = None) -> ResolvedTeacher:
        """A published teacher whose members take so many microseconds a row together, and no CPU."""
        arguments = {"row_us": row_us / members, "note_to": note_to}
        spec = PluginModel.model_validate({"source": "plugin", "import": PLUGIN, "args": arguments})
        return self.teacher(name, [spec] * members)

    def teacher(self, name: str, members: Sequence[ModelSpec]) -> ResolvedTeacher:
        """A published teacher with random weights."""
        made = [self._member(f"{name}-{place}", spec, seed=place) for place, spec in enumerate(members)]
        return publish(name, made, self.settings)

    def student(
        self,
        job: str,
        teachers: Sequence[ResolvedTeacher],
        *,
        rows: slice,
        epochs: int,
        seed: int = 0,
        shade: int = 0,
        **answers: Any,
    ) -> "Student":
        """A student that learns from these rows; of another ``shade``, 0 to 255, they are rows that nobody saw before."""
        content = {
            "name": job,
            "dataset": DATA,
            "student": STUDENT,
            "teachers": [{"name": teacher.reference} for teacher in teachers],
            "objective": OBJECTIVE,
            "training": {"epochs": epochs, "batch_size": BATCH, "seed": seed},
            "answers": answers,
        }
        record = a_record(job, JobSpec.model_validate(content), teachers=teachers)
        return Student(record, _only(self.dataset, rows, shade), self.settings, self.redis)

    def _member(self, name: str, spec: ModelSpec, *, seed: int) -> CheckedMember:
        torch.manual_seed(seed)
        data = self.dataset
        model = build(spec, input=data.input, num_classes=NUM_CLASSES, plugins=self.settings.plugins)
        folder = f"runs/{name}/1/student"
        save_model(model, self.settings.storage / folder, spec=spec, input=data.input, classes=data.facts.classes)
        return CheckedMember(folder=folder, job=name)


class Student:
    """One rank of a job as `student_worker` runs it, without Ray Train around it."""

    def __init__(self, record: JobRecord, dataset: Dataset, settings: NodeSettings, redis: Redis) -> None:
        self.record = record
        self.steps_per_epoch = len(dataset.train_rows) // BATCH
        self._dataset = dataset
        self._settings = settings
        self._ranks = Ranks(0, 1, CPU)
        num_steps = self.steps_per_epoch * record.spec.training.epochs
        self._plan = Plan(record=record, attempt=1, started_at=0.0, checked_at=0.0, num_steps=num_steps)
        self.training = make_training(self._plan, settings, redis, self._ranks, dataset)

    def served(self, pool: Pool) -> Iterator[Lesson]:
        """Its lessons from the pool: windows, credit, memory of its own."""
        training = self.record.spec.training
        reporter = Reporter(None, attempt=1, training=training, num_steps=self._plan.num_steps)
        _, lessons = prepare(
            self._plan, self._settings, self._ranks, reporter, self._dataset, self.training, pool,
            wanted=lambda: Stop.NO, applied=lambda: None,
        )  # fmt: skip
        return lessons

    def told(self, say: Callable[[Batch], Tensor]) -> Iterator[Lesson]:
        """The same batches; ``say`` gives logits (N, M, C) for each."""
        for batch in self.batches():
            logits_NMC = say(batch)
            yield batch, Answers(logits_NMC, tuple(range(logits_NMC.shape[1])))

    def batches(self) -> Iterator[Batch]:
        """Its batches, as the lessons from the pool have them."""
        training = self.record.spec.training
        order = order_of(self._dataset, taught=True, batch_size=BATCH, seed=training.seed)
        augmentation = self.record.spec.dataset.augmentation
        return batches(
            self._dataset, order, augmentation=augmentation, epochs=training.epochs, start=Cursor(), rank=0, world_size=1
        )  # fmt: skip


class Learning:
    """A student on its way through its lessons, some steps at a time."""

    def __init__(self, student: Student, lessons: Iterator[Lesson]) -> None:
        self._student = student
        self._lessons = enumerate(lessons)

    def seconds_of(self, num_steps: int) -> float:
        """Learn from the next ``num_steps`` batches, or as many as there are."""
        began = time.perf_counter()
        for number, (batch, said) in islice(self._lessons, num_steps):
            self._student.training.step(batch, said, number=number)
        return time.perf_counter() - began


def epochs_of(student: Student, lessons: Iterator[Lesson]) -> list[float]:
    """Learn from every lesson; seconds of each epoch."""
    learning = Learning(student, lessons)
    return [learning.seconds_of(student.steps_per_epoch) for _ in range(student.record.spec.training.epochs)]


def side_by_side(one: Learning, other: Learning, *, num_steps: int) -> tuple[float, float]:
    """Seconds that each takes for ``num_steps``: a few of one, a few of the other, so that both meet the same machine."""
    one_s = other_s = 0.0
    for turn, begun in enumerate(range(0, num_steps, STEPS_A_TURN)):
        steps = min(STEPS_A_TURN, num_steps - begun)
        if turn % 2:
            other_s += other.seconds_of(steps)
        one_s += one.seconds_of(steps)
        if not turn % 2:
            other_s += other.seconds_of(steps)
    return one_s, other_s


@dataclass(frozen=True)
class Rate:
    """Of a student that learns."""

    rows_per_s: float
    cpu_us_per_row: float
    """Of this whole process: it hardly changes with what else the machine does."""


def steady_rate(student: Student, lessons: Iterator[Lesson], *, warm_s: float, timed_s: float) -> Rate:
    """Once it runs: the first ``warm_s`` seconds, in which windows grow, don't count."""
    began = since = time.perf_counter()
    cpu_s, rows = time.process_time(), 0
    for number, (batch, said) in enumerate(lessons):
        student.training.step(batch, said, number=number)
        rows += len(batch.inputs)
        at = time.perf_counter()
        if at - began < warm_s:
            since, cpu_s, rows = at, time.process_time(), 0
        elif at - since > timed_s:
            return Rate(rows / (at - since), (time.process_time() - cpu_s) / rows * 1e6)
    raise RuntimeError(f"the lessons were over after {time.perf_counter() - began:.1f} s")


def from_memory(num_members: int) -> Callable[[Batch], Tensor]:
    """What is said where nobody teaches: the targets lie in memory, in half precision as they are kept."""
    generator = torch.Generator().manual_seed(0)
    logits_NMC = torch.randn((NUM_ROWS, num_members, NUM_CLASSES), generator=generator).half()
    return lambda batch: logits_NMC[batch.places_N]


def _only(dataset: Dataset, rows: slice, shade: int) -> Dataset:
    chosen = torch.arange(NUM_ROWS)[rows]
    inputs = dataset.inputs + shade if shade else dataset.inputs  # uint8: it wraps around
    return replace(dataset, inputs=inputs, train_rows=chosen, labelled_rows=chosen, validation_rows=chosen[:0])
