"""The life of teachers and studies as pure functions, and the references between jobs and teachers."""

from collections.abc import Sequence

from distill.contracts import names
from distill.contracts.facts import (
    AliasMoved,
    BaselinesReused,
    StudyFact,
    TeacherFact,
    VersionChecked,
    VersionCreated,
    VersionDeleted,
    VersionRejected,
)
from distill.contracts.job import TeacherUse
from distill.contracts.measures import Snapshot
from distill.contracts.models import JobWeights
from distill.contracts.pool import Reservation
from distill.contracts.records import JobRecord, StudyRecord
from distill.contracts.scheme import students_of
from distill.contracts.teachers import (
    CheckedMember,
    ResolvedTeacher,
    TeacherRecord,
    TeacherVersion,
    TeacherVersionState,
)

DELETABLE = frozenset({TeacherVersionState.READY, TeacherVersionState.REJECTED})


def apply_teacher_fact(record: TeacherRecord, fact: TeacherFact) -> TeacherRecord:
    """Return the record after ``fact``; the same record if the fact is stale, or means a version that isn't there.

    A check that began before a backup was restored gives its verdict of a version that the record knows nothing of.
    """
    if isinstance(fact, VersionCreated):
        if fact.version.version != len(record.versions) + 1:
            return record
        return record.model_copy(update={"versions": (*record.versions, fact.version), "updated_at": fact.at})
    if fact.version not in {version.version for version in record.versions}:
        return record
    match fact:
        case VersionChecked(version=number, manifest=manifest):
            checked = _replace(record, number, state=TeacherVersionState.READY, manifest=manifest)
            alias = find_version(record, number).alias
            if checked is record or alias is None:
                return checked
            return checked.model_copy(update={"aliases": {**checked.aliases, alias: number}})
        case VersionRejected(version=number, problem=problem):
            return _replace(record, number, state=TeacherVersionState.REJECTED, problem=problem)
        case AliasMoved(alias=alias, version=number, expected=expected):
            if record.aliases.get(alias) == number or expected not in {None, record.aliases.get(alias, 0)}:
                return record
            if find_version(record, number).state is not TeacherVersionState.READY:
                return record
            return record.model_copy(update={"aliases": {**record.aliases, alias: number}, "updated_at": fact.at})
        case VersionDeleted(version=number):
            if find_version(record, number).state not in DELETABLE or number in record.aliases.values():
                return record
            return _with_version(record, number, state=TeacherVersionState.DELETED)


def apply_study_fact(record: StudyRecord, fact: StudyFact) -> StudyRecord:
    """Return the record after ``fact``; the same record if it has its report."""
    if record.report is not None or isinstance(fact, BaselinesReused):
        return record
    return record.model_copy(update={"report": fact.report, "updated_at": fact.at})


def find_version(record: TeacherRecord, number: int) -> TeacherVersion:
    """The version with this number.

    Raises:
        KeyError: there is none.
    """
    for version in record.versions:
        if version.version == number:
            return version
    raise KeyError(number)


def uses_of(
    record: TeacherRecord, number: int, jobs: Sequence[JobRecord], reservations: Sequence[Reservation]
) -> list[str]:
    """What needs a version, in words: aliases, jobs that have not ended, reservations. While anything does, it stays."""
    aliases = [f"the alias {alias}" for alias, meant in record.aliases.items() if meant == number]
    wanted = (record.name, number)
    learning = [job for job in jobs if any((one.name, one.version) == wanted for one in job.teachers)]
    asking = [one for one in reservations if (one.teacher.name, one.teacher.version) == wanted]
    # whose they are is said to nobody
    kinds = (("job", learning), ("reservation", asking))
    counted = [f"{len(found)} {kind}{'s' if len(found) > 1 else ''}" for kind, found in kinds if found]
    return [*aliases, *counted]


def weights_of(job: JobRecord) -> list[str]:
    """The jobs from whose weights it, or a peer of it, begins, each once."""
    starts = [one.init_from for one in students_of(job.spec.student, job.spec.scheme).values()]
    return list(dict.fromkeys(start.job for start in starts if isinstance(start, JobWeights)))


def resolve(use: TeacherUse, version: TeacherVersion) -> ResolvedTeacher:
    """The READY version as the job holds it."""
    manifest = version.manifest
    assert manifest is not None  # noqa: S101 - a READY version has its manifest
    return ResolvedTeacher(
        name=manifest.teacher, version=version.version, digest=manifest.digest, weight=use.weight, manifest=manifest
    )


def member_of(job: JobRecord) -> CheckedMember:
    """The student that a SUCCEEDED job left."""
    folder = names.attempt_folder(job.id, job.attempt) / "artifacts"
    return CheckedMember(folder=str(folder), job=job.id, trained_on=job.dataset)


def snapshot_of(job: JobRecord, snapshot: Snapshot) -> CheckedMember:
    """What a SUCCEEDED job's student was after an earlier epoch."""
    return CheckedMember(folder=snapshot.path, job=job.id, epoch=snapshot.epoch, trained_on=job.dataset)


def _replace(record: TeacherRecord, number: int, **changes: object) -> TeacherRecord:
    if find_version(record, number).state is not TeacherVersionState.CHECKING:
        return record
    return _with_version(record, number, **changes)


def _with_version(record: TeacherRecord, number: int, **changes: object) -> TeacherRecord:
    versions = tuple(v.model_copy(update=changes) if v.version == number else v for v in record.versions)
    return record.model_copy(update={"versions": versions})
