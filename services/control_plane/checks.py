"""What can be checked of a job before anything runs: paths, members, classes, room. Each error names its field."""

from collections.abc import Sequence
from pathlib import Path

from distill.contracts.datasets import DatasetSpec
from distill.contracts.errors import InvalidSpec, NoRoom
from distill.contracts.job import JobSpec, SoftTargetsTerm
from distill.contracts.teachers import ResolvedTeacher, TeacherManifest
from services.control_plane.ray_rest import ClusterResources


def confine(root: Path, path: str, field: str) -> Path:
    """The existing file or folder that ``path`` means below ``root``.

    Raises:
        InvalidSpec: it leaves the root (by ``..``, a link, or as an absolute path), or there is no such file.
    """
    resolved = (root / path).resolve() if "\x00" not in path else root.parent
    if not resolved.is_relative_to(root.resolve()):
        raise InvalidSpec(
            f"{field}: {path!r} lies outside the data root",
            field=field,
            got=path,
            expected="a path relative to the data root, without leaving it",
            hint="the operator names the data root in STILLHOUSE_DATA_ROOT",
        )
    if not resolved.exists():
        raise InvalidSpec(
            f"{field}: there is no {path!r} in the data root",
            field=field,
            got=path,
            expected="an existing file or folder",
        )
    return resolved


def check_members(spec: JobSpec, teachers: Sequence[ResolvedTeacher], prefix: str) -> None:
    """Raises InvalidSpec where a term names a member that its teacher doesn't have."""
    for i, term in enumerate(spec.objective):
        if not isinstance(term, SoftTargetsTerm) or term.target.teacher is None or term.target.member is None:
            continue
        teacher = teachers[term.target.teacher]
        count = len(teacher.manifest.members)
        if term.target.member >= count:
            field = f"{prefix}objective.{i}.target.member"
            raise InvalidSpec(
                f"{field}: {teacher.reference} has {count} members, at positions 0 to {count - 1}",
                field=field,
                got=str(term.target.member),
                expected=f"0 to {count - 1}",
            )


def check_classes(data: DatasetSpec, manifests: Sequence[TeacherManifest], prefix: str) -> None:
    """Raises InvalidSpec where class lists differ by name, among teachers or from what the data is known to have."""
    expected = data.known_classes
    for i, manifest in enumerate(manifests):
        expected = expected or manifest.classes
        if manifest.classes != expected:
            field = f"{prefix}teachers.{i}.name"
            raise InvalidSpec(
                f"{field}: {manifest.teacher}@{manifest.version} knows the classes {_some(manifest.classes)}, "
                f"but {'the data has' if data.known_classes else 'the first teacher knows'} {_some(expected)}",
                field=field,
                got=_some(manifest.classes),
                expected=_some(expected),
            )


def check_room(need: ClusterResources, room: ClusterResources | None, *, field: str, what: str) -> None:
    """Raises NoRoom where ``need`` can never fit on the cluster; silent while that isn't known."""
    if room is None or room.holds(need):
        return
    raise NoRoom(
        f"{field}: {what} take {need}, and the whole cluster has {room}",
        field=field,
        got=str(need),
        expected=f"at most {room}",
        hint="ask for fewer or smaller ones, or add nodes",
    )


def _some(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:12])
    return f"{len(classes)} ({shown}{', ...' if len(classes) > 12 else ''})"
