"""Jobs for the tests: tiny, on scikit-learn's digits, and stored as the control plane stores them."""

from typing import Any

from redis import Redis

from distill.contracts import names
from distill.contracts.base import digest_of, now
from distill.contracts.facts import FACT, Fact
from distill.contracts.job import JobSpec
from distill.contracts.measures import Size
from distill.contracts.models import ImageInput, ZooModel
from distill.contracts.records import Attempt, Directive, JobRecord, JobState, Reason, Wish
from distill.contracts.teachers import MemberManifest, ResolvedTeacher, TeacherManifest

ZERO = "sha256:" + "0" * 64


def a_spec(**changes: Any) -> JobSpec:
    """An MLP on digits, 2 epochs of 9 steps, without a teacher."""
    content: dict[str, Any] = {
        "name": "small",
        "dataset": {"source": "digits", "labels": {"kind": "count", "count": 200}},
        "student": {"source": "zoo", "name": "mlp", "args": {"hidden": [16]}},
        "training": {"epochs": 2, "batch_size": 128, "optimizer": {"kind": "sgd", "lr": 0.05}},
        "compute": {"cpus_per_worker": 0.5},
    }
    return JobSpec.model_validate(content | changes)


def taught_by(teacher: ResolvedTeacher, **changes: Any) -> JobSpec:
    """The same student, taught by ``teacher`` and 200 labels."""
    terms = [{"kind": "labels", "weight": 0.5}, {"kind": "soft_targets", "weight": 0.5}]
    return a_spec(teachers=[{"name": teacher.reference}], objective=terms, **changes)


def a_record(job: str, spec: JobSpec, *, teachers: tuple[ResolvedTeacher, ...] = (), **changes: Any) -> JobRecord:
    """A job whose first attempt was launched."""
    content: dict[str, Any] = {
        "id": job,
        "spec": spec,
        "spec_digest": digest_of(spec),
        "teachers": teachers,
        "state": JobState.STARTING,
        "reason": Reason(code="launched", text="launched"),
        "attempts": (Attempt(number=1),),
        "created_at": now(),
        "updated_at": now(),
    }
    return JobRecord(**(content | changes))


def a_teacher(*, classes: tuple[str, ...], size: tuple[int, int, int] = (1, 8, 8), members: int = 2) -> ResolvedTeacher:
    """A teacher of images, as its manifest tells."""
    channels, height, width = size
    measured = Size(parameters=1, bytes=1, flops=1, latency_ms={1: 1.0}, latency_threads=1, latency_device="cpu")
    member = MemberManifest(model=ZooModel(name="mlp"), weights_digest=ZERO, size=measured, taps={})
    manifest = TeacherManifest(
        teacher="wise",
        version=1,
        digest=ZERO,
        input=ImageInput(channels=channels, height=height, width=width, mean=(0.0,) * channels, std=(1.0,) * channels),
        classes=classes,
        members=(member,) * members,
        size=measured,
        rows_per_s=1.0,
        device="cpu",
    )
    return ResolvedTeacher(name="wise", version=1, digest=ZERO, weight=1.0, manifest=manifest)


def store(redis: Redis, record: JobRecord, wish: Wish = Wish.RUN) -> None:
    """Put record and directive where workers read them."""
    redis.set(names.record_key("job", record.id), record.model_dump_json())
    wants(redis, record, wish)


def wants(redis: Redis, record: JobRecord, wish: Wish) -> None:
    """Say what the newest attempt should do."""
    directive = Directive(version=1, attempt=record.attempt, wish=wish)
    redis.set(names.directive_key(record.id), directive.model_dump_json())


def facts_of(redis: Redis, job: str) -> list[Fact]:
    """Everything that the job's workers said."""
    entries = redis.xrange(names.inbox_key("job", job))
    return [FACT.validate_json(fields["fact"]) for _, fields in entries]
