"""Jobs, results and teachers with round figures, to compose reports from."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from distill.contracts.base import digest_of
from distill.contracts.datasets import DatasetFacts
from distill.contracts.errors import Problem
from distill.contracts.job import JobSpec
from distill.contracts.measures import (
    Artifact,
    AttemptResult,
    CurvePoint,
    Predictions,
    Quality,
    Size,
    TeacherQuality,
)
from distill.contracts.models import ImageInput, ZooArgs, ZooModel
from distill.contracts.records import Attempt, JobRecord, JobState, Outcome, Phase, Reason, StudyRecord
from distill.contracts.report import Report
from distill.contracts.study import Child, StudySpec
from distill.contracts.teachers import MemberManifest, ResolvedTeacher, TeacherManifest
from services.reports.compose import compose_study

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DIGEST = "sha256:" + "0" * 64
CLASSES = tuple("0123456789")


def facts(
    start: int = 30_000, stop: int = 60_000, *, labels: int = 1_000, digest: str = "sha256:fashion"
) -> DatasetFacts:
    rows = stop - start
    return DatasetFacts(
        source="fashion-mnist",
        digest=digest,
        num_rows=60_000,
        rows_start=start,
        rows_stop=stop,
        num_train=rows - rows // 10,
        num_labelled=labels,
        num_validation=rows // 10,
        num_test=10_000,
        classes=CLASSES,
    )


def quality(accuracy: float, rows: int = 10_000) -> Quality:
    return Quality(accuracy=accuracy, nll=0.4, calibration_error=0.02, num_rows=rows)


def size(parameters: int, latency: float = 1.0, *, threads: int = 1) -> Size:
    return Size(
        parameters=parameters,
        bytes=4 * parameters,
        flops=200 * parameters,
        latency_ms={1: latency, 64: 10 * latency},
        latency_threads=threads,
        latency_device="cpu",
        peak_memory_bytes=8 * parameters,
    )


def member(
    parameters: int = 200_000, *, trained_on: DatasetFacts | None = None, width: int = 32, weights: str = DIGEST
) -> MemberManifest:
    return MemberManifest(
        model=ZooModel(name="resnet8", args=ZooArgs(width=width)),
        weights_digest=weights,
        size=size(parameters, 4.0),
        taps={},
        trained_on=trained_on,
    )


def teacher(*members: MemberManifest, name: str = "fashion", version: int = 1) -> ResolvedTeacher:
    manifest = TeacherManifest(
        teacher=name,
        version=version,
        digest=DIGEST,
        input=ImageInput(channels=1, height=28, width=28, mean=(0.5,), std=(0.5,)),
        classes=CLASSES,
        members=members,
        size=size(sum(m.size.parameters for m in members), sum(m.size.latency_ms[1] for m in members)),
        rows_per_s=3_000.0,
        device="cpu",
    )
    return ResolvedTeacher(name=name, version=version, digest=DIGEST, weight=1.0, manifest=manifest)


def three_members(*, trained_on: DatasetFacts | None = None) -> ResolvedTeacher:
    data = trained_on or facts(0, 30_000, labels=27_000)
    return teacher(*(member(trained_on=data, weights=f"sha256:{position:064x}") for position in range(3)))


def job_spec(*, teachers: bool = True, **changes: Any) -> JobSpec:
    document: dict[str, Any] = {
        "name": "fashion-small",
        "dataset": {
            "source": "fashion-mnist",
            "rows": {"start": 30_000, "stop": 60_000},
            "labels": {"kind": "count", "count": 1_000},
        },
        "student": {"source": "zoo", "name": "cnn", "args": {"width": 8}},
        "objective": [{"kind": "labels", "weight": 0.1}],
        "training": {"schedule": {"kind": "cosine", "warmup_steps": 100}},
    }
    if teachers:
        document["teachers"] = [{"name": "fashion@1"}]
        document["objective"].append({"kind": "soft_targets", "weight": 0.9, "temperature": 4.0})
    return JobSpec.model_validate(document | changes)


def job(
    role: str = "student",
    *,
    teachers: tuple[ResolvedTeacher, ...] = (),
    spec: JobSpec | None = None,
    state: JobState = JobState.SUCCEEDED,
    problem: Problem | None = None,
    num_attempts: int = 1,
    data: DatasetFacts | None = None,
) -> JobRecord:
    spec = spec or job_spec(teachers=bool(teachers))
    last = Attempt(
        number=num_attempts,
        phases={phase: NOON + timedelta(seconds=3 * (i + 1)) for i, phase in enumerate(Phase)},
        outcome=Outcome.FINISHED if state is JobState.SUCCEEDED else Outcome.FAILED,
        problem=problem,
    )
    return JobRecord(
        id=f"fashion-{role}",
        role=role,
        spec=spec,
        spec_digest=digest_of(spec),
        teachers=teachers,
        state=state,
        reason=Reason(code="ended", text="it ended"),
        attempts=(*(Attempt(number=n) for n in range(1, num_attempts)), last),
        dataset=data or facts(),
        result=f"runs/fashion-{role}/{num_attempts}/result.json" if state is JobState.SUCCEEDED else None,
        created_at=NOON,
        updated_at=NOON,
        ended_at=NOON + timedelta(seconds=33),
    )


def result(
    accuracy: float,
    *,
    role: str = "student",
    parameters: int = 15_000,
    ensemble: float | None = None,
    members: tuple[float, ...] = (),
    rows: int = 10_000,
    steps: int = 400,
    waited_s: float = 0.0,
    agreement: float | None = None,
) -> AttemptResult:
    taught = ensemble is not None
    teachers = (
        (TeacherQuality(teacher="fashion@1", ensemble=quality(ensemble), members=tuple(quality(m) for m in members)),)
        if ensemble is not None
        else ()
    )
    return AttemptResult(
        job=f"fashion-{role}",
        attempt=1,
        dataset=facts(),
        size=size(parameters),
        quality=quality(accuracy, rows),
        agreement=agreement,
        teachers=teachers,
        ensemble=quality(ensemble, rows) if ensemble is not None else None,
        curve=curve(accuracy, steps),
        steps=steps,
        phases={"data": 0.5, "training": 24.0},
        teacher_rows=135_000 if taught else 0,
        teacher_wait_s=waited_s,
        artifacts=(artifact(role, "student.pt2"), artifact(role, "model.safetensors")),
        predictions=f"runs/fashion-{role}/1/predictions.json",
        versions={"python": "3.11", "torch": "2.13.0"},
    )


def curve(accuracy: float, steps: int) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(
            epoch=epoch,
            step=epoch * steps // 5,
            train_loss=1.0 / epoch,
            learning_rate=0.05,
            validation_accuracy=accuracy - 0.3 / epoch**2,
            seconds=5.0,
            rows_per_s=5_400.0,
        )
        for epoch in range(1, 6)
    )


def artifact(role: str, name: str) -> Artifact:
    path = f"runs/fashion-{role}/1/{name}"
    return Artifact(name=name, path=path, size_bytes=60_000, digest=DIGEST, media_type="application/octet-stream")


def study(*roles: str) -> StudyRecord:
    with_baseline = "baseline" in roles
    return StudyRecord(
        id="fashion-study",
        spec=StudySpec(name="fashion", job=job_spec(), baseline=with_baseline),
        jobs={role: f"fashion-{role}" for role in roles},
        created_at=NOON,
        updated_at=NOON,
    )


def predictions(student: tuple[int, ...], *, ensemble: tuple[int, ...] | None = None) -> Predictions:
    return Predictions(student=student, ensemble=ensemble, truth=(0, 1, 2, 3))


def child(
    role: Literal["student", "baseline"], *, point: str | None = None, seed: int = 0, generation: int = 1
) -> Child:
    return Child(role=role, point=point, seed=seed, generation=generation)


def composed(
    accuracies: Mapping[Child, float | None],
    *,
    teachers: tuple[ResolvedTeacher, ...] | None = None,
    named: Mapping[Child, Predictions] | None = None,
    **spec: Any,
) -> Report:
    """The report of a study of such children, each with its accuracy on the test rows; None has failed.

    The ensemble reaches 92 %. A size such as ``w8`` has 1,000 parameters for each channel, and 0.1 ms.
    """
    teachers = (three_members(),) if teachers is None else teachers
    keys = {key_of(one): one for one in accuracies}
    reached = {key: accuracies[one] for key, one in keys.items()}
    failed = [key for key, accuracy in reached.items() if accuracy is None]
    record = study().model_copy(
        update={
            "spec": StudySpec(name="fashion", job=job_spec(), **spec),
            "jobs": {key: f"fashion-{key}" for key in keys},
            "children": keys,
        }
    )
    return compose_study(
        record,
        {key: _job_of(key, one, teachers, failed=key in failed) for key, one in keys.items()},
        {key: _result_of(key, keys[key], accuracy) for key, accuracy in reached.items() if accuracy is not None},
        {key: named[one] for key, one in keys.items() if named and one in named},
        at=NOON,
    )


def key_of(one: Child) -> str:
    return "-".join([one.role, *([one.point] if one.point else []), f"s{one.seed}", f"g{one.generation}"])


def _job_of(key: str, one: Child, teachers: tuple[ResolvedTeacher, ...], *, failed: bool) -> JobRecord:
    taught = one.role == "student" and (bool(teachers) or one.generation > 1)
    spec = job_spec(
        teachers=taught,
        student={"source": "zoo", "name": "cnn", "args": {"width": _width(one)}},
        training={"schedule": {"kind": "cosine", "warmup_steps": 100}, "seed": one.seed},
    )
    mine = teachers if one.generation == 1 else (teacher(member(_width(one) * 1_000), name="fashion-before"),)
    state = JobState.FAILED if failed else JobState.SUCCEEDED
    return job(key, teachers=mine if taught else (), spec=spec, state=state)


def _result_of(key: str, one: Child, accuracy: float) -> AttemptResult:
    heard: dict[str, Any] = {"ensemble": 0.92, "members": (0.9, 0.91, 0.9)} if one.role == "student" else {}
    with_its_teacher = 1.0 if one.generation > 1 else None
    done = result(accuracy, role=key, parameters=1_000 * _width(one), agreement=with_its_teacher, **heard)
    return done.model_copy(update={"size": size(1_000 * _width(one), _width(one) / 10)})


def _width(one: Child) -> int:
    return int(one.point.removeprefix("w")) if one.point else 8
