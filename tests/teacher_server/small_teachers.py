"""Small teachers for tests: what their members are, and their versions as data."""

from pathlib import Path

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.models import ImageInput, ZooArgs, ZooModel
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import CheckedMember, ResolvedTeacher, TeacherManifest, TeacherResources, TeacherVersion

IMAGE = ImageInput(channels=1, height=8, width=8, mean=(0.3,), std=(0.25,))
CLASSES = ("ankle boot", "bag", "coat", "dress")
MLP = ZooModel(name="mlp", args=ZooArgs(hidden=(16,)))
CNN = ZooModel(name="cnn", args=ZooArgs(width=4))
RESNET = ZooModel(name="resnet8", args=ZooArgs(width=4))


def a_version(*members: CheckedMember, version: int = 1, num_rows: int = 64) -> TeacherVersion:
    """A version that waits for its check."""
    resources = TeacherResources(threads=1, max_batch_rows=num_rows)
    return TeacherVersion(version=version, members=members, resources=resources, created_at=now())


def folder_of(settings: NodeSettings, teacher: str, version: int = 1) -> Path:
    """The version's folder on storage."""
    return settings.storage / names.teacher_folder(teacher, version)


def resolved(manifest: TeacherManifest) -> ResolvedTeacher:
    """The teacher as a job holds it."""
    return ResolvedTeacher(
        name=manifest.teacher, version=manifest.version, digest=manifest.digest, weight=1.0, manifest=manifest
    )
