"""The life of teachers and studies as pure functions, and the references between jobs and teachers."""

from distill.contracts import names
from distill.contracts.facts import (
    AliasMoved,
    BaselinesReused,
    StudyFact,
    TeacherFact,
    VersionChecked,
    VersionCreated,
    VersionRejected,
)
from distill.contracts.job import TeacherUse
from distill.contracts.measures import Snapshot
from distill.contracts.records import JobRecord, StudyRecord
from distill.contracts.teachers import (
    CheckedMember,
    ResolvedTeacher,
    TeacherRecord,
    TeacherVersion,
    TeacherVersionState,
)


def apply_teacher_fact(record: TeacherRecord, fact: TeacherFact) -> TeacherRecord:
    """Return the record after ``fact``; the same record if the fact is stale."""
    match fact:
        case VersionCreated(version=version):
            if version.version != len(record.versions) + 1:
                return record
            return record.model_copy(update={"versions": (*record.versions, version), "updated_at": fact.at})
        case VersionChecked(version=number, manifest=manifest):
            checked = _replace(record, number, state=TeacherVersionState.READY, manifest=manifest)
            alias = find_version(record, number).alias
            if checked is record or alias is None:
                return checked
            return checked.model_copy(update={"aliases": {**checked.aliases, alias: number}})
        case VersionRejected(version=number, problem=problem):
            return _replace(record, number, state=TeacherVersionState.REJECTED, problem=problem)
        case AliasMoved(alias=alias, version=number):
            if record.aliases.get(alias) == number:
                return record
            return record.model_copy(update={"aliases": {**record.aliases, alias: number}, "updated_at": fact.at})


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
    current = find_version(record, number)
    if current.state is not TeacherVersionState.CHECKING:
        return record
    versions = tuple(v.model_copy(update=changes) if v.version == number else v for v in record.versions)
    return record.model_copy(update={"versions": versions})
