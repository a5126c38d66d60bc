"""Trainings that are remembered: each is done once for its spec, its teachers and the code, and found again by their digest."""

import hashlib
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from redis import Redis

from distill.contracts.base import Digest, Stored, digest_of, now
from distill.contracts.errors import InvalidData
from distill.contracts.job import JobSpec
from distill.contracts.settings import NodeSettings
from distill.contracts.study import Child, StudySpec
from distill.contracts.teachers import CheckedMember, ResolvedTeacher
from examples.in_process import a_record, keep, publish, train
from services.cli.files import load_spec
from student_worker.results import versions

ROOT = Path(__file__).parents[2]
TEACHERS = ROOT / "examples" / "knowledge" / "teachers"
CODE = ("distill", "student_worker", "teacher_server", "examples/in_process.py")
"""What decides what a job learns: packages, and a program file."""


class Result(Stored):
    """What a training left."""

    accuracy: float
    """Of the student, on test rows."""
    ensemble: float | None
    """Accuracy of its teachers combined as the job says."""
    parameters: int
    """Of the student as exported."""
    seconds: float
    """In the training loop."""
    at: datetime
    member: CheckedMember
    """Where the student lies."""


class _Asked(Stored):
    """Everything that decides a result."""

    spec: JobSpec
    teachers: tuple[Digest, ...]
    code: Digest
    versions: dict[str, str]
    """Of Python, torch and ours."""


class Runs:
    """Trains what was not trained before."""

    def __init__(
        self, settings: NodeSettings, *, teachers: Path = TEACHERS, ran: Mapping[str, str] | None = None
    ) -> None:
        """``settings.storage`` keeps results and students; ``teachers`` holds the study of each teacher's members.

        ``ran`` are the versions of what trains; left out: those that are here.
        """
        self.num_trained = 0
        self._settings = settings
        self._files = teachers
        self._published: dict[str, ResolvedTeacher] = {}
        self._code = code_digest()
        self._versions = dict(ran or versions())

    def child(self, study: StudySpec, child: Child) -> Result:
        """A job of a study, and first of all those that must come before it.

        Raises:
            InvalidData: its data isn't there, or nothing says how its teacher is made.
        """
        spec = study.spec_of(child, study=study.name)
        if before := study.before(child):
            self._published[f"{study.name}@{before}"] = self._generation(study, before)
        return self.job(spec)

    def job(self, spec: JobSpec) -> Result:
        """A job's result, remembered or new. Raises as `child`."""
        teachers = tuple(self._teacher(use.name).model_copy(update={"weight": use.weight}) for use in spec.teachers)
        asked = _Asked(
            # what it is called doesn't matter
            spec=spec.model_copy(update={"name": "gallery", "labels": {}}),
            teachers=tuple(teacher.digest for teacher in teachers),
            code=self._code,
            versions=self._versions,
        )
        identity = digest_of(asked).removeprefix("sha256:")[:40]
        file = self._settings.storage / "results" / f"{identity}.json"
        if file.exists():
            return Result.model_validate_json(file.read_bytes())
        result = self._trained(identity, spec, teachers)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(result.model_dump_json(indent=1))
        part.rename(file)
        return result

    def _trained(self, identity: str, spec: JobSpec, teachers: tuple[ResolvedTeacher, ...]) -> Result:
        # nobody asks this Redis: no example starts from another job's weights
        trained = train(a_record(identity, spec, teachers), self._settings, Redis())
        measured = trained.measured()
        shutil.rmtree(self._settings.storage / "runs" / identity / "1" / "checkpoints", ignore_errors=True)
        self.num_trained += 1
        return Result(
            accuracy=measured.student.accuracy,
            ensemble=measured.ensemble.accuracy if measured.ensemble else None,
            parameters=sum(tensor.numel() for tensor in trained.student.parameters()),
            seconds=trained.seconds,
            at=now(),
            member=keep(trained, self._settings),
        )

    def _teacher(self, reference: str) -> ResolvedTeacher:
        """The teacher of that name: published by an earlier generation, or made as its file says."""
        if reference not in self._published:
            name = reference.partition("@")[0]
            file = self._files / f"{name}.yaml"
            if not file.exists():
                raise InvalidData(f"its teacher is {reference}, and no file {file.name} says how that is made")
            self._published[reference] = self._made(name, file)
        return self._published[reference]

    def _made(self, name: str, file: Path) -> ResolvedTeacher:
        spec = load_spec(file)
        study = spec if isinstance(spec, StudySpec) else StudySpec(name=name, job=spec)
        members = [self.child(study, child).member for child in study.children().values()]
        return publish(name, members, self._settings)

    def _generation(self, study: StudySpec, key: str) -> ResolvedTeacher:
        before = self.child(study, study.children()[key])
        return publish(f"{study.name[:30]}-{key}"[:48].rstrip("-"), [before.member], self._settings)


def code_digest(root: Path = ROOT) -> Digest:
    """Of every program file below ``root`` that decides what a job learns."""
    places = [root / place for place in CODE]
    files = sorted(file for place in places for file in ([place] if place.is_file() else place.rglob("*.py")))
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(root)}\n".encode() + file.read_bytes())
    return f"sha256:{digest.hexdigest()}"
