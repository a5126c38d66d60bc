"""From what a person posted to records: references resolved, and everything checked that manifests know."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distill.contracts import names
from distill.contracts.base import digest_of, now
from distill.contracts.datasets import ArrayData, ImageFolderData, ParquetData, TextData
from distill.contracts.errors import Conflict, InvalidSpec, NotFound, UnknownTeacher
from distill.contracts.job import JobSpec, TeacherUse
from distill.contracts.models import FileWeights, FolderWeights, JobWeights
from distill.contracts.records import JobRecord, JobState, Reason, StudyRecord
from distill.contracts.study import StudySpec
from distill.contracts.teachers import (
    CheckedMember,
    MemberFromFile,
    MemberFromJob,
    MemberSource,
    ResolvedTeacher,
    TeacherVersion,
    TeacherVersionSpec,
    TeacherVersionState,
)
from services.control_plane.checks import check_classes, check_members, check_room, check_taps, confine
from services.control_plane.decisions import needs
from services.control_plane.deployment import replicas_of
from services.control_plane.ray_rest import ClusterResources
from services.control_plane.registry import find_version
from services.control_plane.store import Store

IDENTITY_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"


class Submission:
    """Checks and resolves against the records, the data root and the cluster."""

    def __init__(self, store: Store, *, data_root: Path, room: ClusterResources | None) -> None:
        """``room`` is what the whole cluster has; None while that isn't known, and then it is not checked."""
        self._store = store
        self._data_root = data_root
        self._room = room

    async def job(self, spec: JobSpec) -> JobRecord:
        """The record of one job. Raises InvalidSpec and its kin, with the field."""
        return await self._record(spec, identity=new_identity(spec.name), prefix="")

    async def study(self, spec: StudySpec) -> tuple[StudyRecord, list[JobRecord]]:
        """The records of a study and of its children. Raises InvalidSpec and its kin, with the field."""
        identity = new_identity(spec.name)
        jobs = [
            await self._record(child, identity=f"{identity}-{role}", prefix="job.", role=role, study=identity)
            for role, child in spec.children().items()
        ]
        created = jobs[0].created_at
        study = StudyRecord(
            id=identity, spec=spec, jobs={job.role: job.id for job in jobs}, created_at=created, updated_at=created
        )
        return study, jobs

    async def version(self, spec: TeacherVersionSpec, *, number: int) -> TeacherVersion:
        """The record of a teacher's new version. Raises InvalidSpec and its kin, with the field."""
        check_room(replicas_of(spec.resources), self._room, field="resources", what="its replicas")
        members = [await self._member(source, f"members.{i}") for i, source in enumerate(spec.members)]
        return TeacherVersion(
            version=number, members=tuple(members), resources=spec.resources, alias=spec.alias, created_at=now()
        )

    async def _record(self, spec: JobSpec, *, identity: str, prefix: str, **more: Any) -> JobRecord:
        versions = [await self._ready(use, f"{prefix}teachers.{i}.name") for i, use in enumerate(spec.teachers)]
        teachers = [_resolved(use, version) for use, version in zip(spec.teachers, versions, strict=True)]
        check_members(spec, teachers, prefix)
        check_taps(spec, teachers, prefix)
        check_classes(spec.dataset, [teacher.manifest for teacher in teachers], prefix)
        self._check_paths(spec, prefix)
        await self._check_init_from(spec, prefix)
        need = sum((replicas_of(version.resources) for version in versions), needs(spec.compute))
        check_room(need, self._room, field=f"{prefix}compute", what="workers and teachers")
        created = now()
        return JobRecord(
            id=identity,
            spec=spec,
            spec_digest=digest_of(spec),
            teachers=tuple(teachers),
            reason=Reason(code="queued", text="waiting for its turn"),
            created_at=created,
            updated_at=created,
            **more,
        )

    async def _ready(self, use: TeacherUse, field: str) -> TeacherVersion:
        name, wanted = use.name.split("@")
        try:
            record = await self._store.teacher(name)
            number = int(wanted) if wanted.isdigit() else record.aliases[wanted]
            version = find_version(record, number)
        except (NotFound, KeyError) as error:
            raise UnknownTeacher(
                f"{field}: there is no teacher {use.name!r}",
                field=field,
                got=use.name,
                expected=await self._known_teachers(),
                hint="`stillhouse teachers list` shows what there is",
            ) from error
        if version.state is not TeacherVersionState.READY or version.manifest is None:
            raise UnknownTeacher(
                f"{field}: {name}@{number} is {version.state.value}, and only a READY version can teach",
                field=field,
                got=f"{name}@{number}, {version.state.value}",
                expected="a READY version",
            )
        return version

    async def _known_teachers(self) -> str:
        known = [
            f"{teacher.name}@{version.version}"
            for teacher in await self._store.teachers()
            for version in teacher.versions
            if version.state is TeacherVersionState.READY
        ]
        return "one of " + ", ".join(known[:20]) if known else "a published teacher; there are none yet"

    async def _member(self, source: MemberSource, field: str) -> CheckedMember:
        match source:
            case MemberFromFile():
                confine(self._data_root, source.path, f"{field}.path")
                return CheckedMember(file=source)
            case MemberFromJob():
                job = await self._finished(source.job, f"{field}.job")
                folder = names.attempt_folder(job.id, job.attempt) / "artifacts"
                return CheckedMember(folder=str(folder), job=job.id, trained_on=job.dataset)

    async def _finished(self, identity: str, field: str) -> JobRecord:
        try:
            job = await self._store.job(identity)
        except NotFound as error:
            raise InvalidSpec(f"{field}: there is no job {identity!r}", field=field, got=identity) from error
        if job.state is not JobState.SUCCEEDED:
            raise Conflict(
                f"{field}: job {identity} is {job.state.value}, and only a SUCCEEDED one leaves weights",
                field=field,
                got=job.state.value,
                expected=JobState.SUCCEEDED.value,
            )
        return job

    async def _check_init_from(self, spec: JobSpec, prefix: str) -> None:
        field = f"{prefix}student.init_from"
        match spec.student.init_from:
            case FileWeights(path=path) | FolderWeights(path=path):
                confine(self._data_root, path, f"{field}.path")
            case JobWeights(job=job):
                await self._finished(job, f"{field}.job")

    def _check_paths(self, spec: JobSpec, prefix: str) -> None:
        data = spec.dataset
        if isinstance(data, TextData):
            confine(self._data_root, data.tokenizer, f"{prefix}dataset.tokenizer")
        if isinstance(data, ArrayData | ImageFolderData | ParquetData | TextData):
            confine(self._data_root, data.train, f"{prefix}dataset.train")
            if data.test is not None:
                confine(self._data_root, data.test, f"{prefix}dataset.test")


def new_identity(name: str, choose: Callable[[str], str] = secrets.choice) -> str:
    """A readable, unique identity: ``<name>-<six letters or digits>``."""
    return f"{name[:30].rstrip('-')}-{''.join(choose(IDENTITY_ALPHABET) for _ in range(6))}"


def _resolved(use: TeacherUse, version: TeacherVersion) -> ResolvedTeacher:
    manifest = version.manifest
    assert manifest is not None  # noqa: S101 - a READY version has its manifest
    return ResolvedTeacher(
        name=manifest.teacher, version=version.version, digest=manifest.digest, weight=use.weight, manifest=manifest
    )
