"""The files that records refer to: which they are, their digests, and their way into a backup and out of it."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from distill.contracts import names
from distill.contracts.base import Digest, Stored
from distill.contracts.records import JobRecord, StudyRecord
from distill.contracts.teachers import TeacherRecord

BLOCK = 1 << 20
NOT_KEPT = {"train"}
"""In an attempt's folder: Ray Train's own bookkeeping, of no use to another attempt."""


class FileRef(Stored):
    """A file below the storage root."""

    path: str
    size_bytes: int
    digest: Digest


def referred(
    jobs: Iterable[JobRecord], studies: Iterable[StudyRecord], teachers: Iterable[TeacherRecord], storage: Path
) -> list[Path]:
    """Every file that is there and that one of the records stands for, and the audit log's.

    Not the answer book, which is computed again, nor the users' own data.
    """
    found = set(_below(storage / names.AUDIT_FOLDER))
    for job in jobs:
        found.update(_of_job(job, storage))
        found.update(_below(storage / names.report_folder("job", job.id)))
    for study in studies:
        found.update(_below(storage / study.report) if study.report else ())
    for teacher in teachers:
        for version in teacher.versions:
            found.update(_below(storage / names.teacher_folder(teacher.name, version.version)))
    return sorted(found)


def describe(paths: Sequence[Path], storage: Path) -> list[FileRef]:
    """Sizes and digests; a file that a running job has taken away meanwhile is left out."""
    return [ref for path in paths if (ref := _ref(path, storage)) is not None]


def copy(refs: Iterable[FileRef], source: Path, target: Path) -> int:
    """Put those that ``target`` lacks there, each whole or not at all, and return how many; what ``source`` lacks is left out."""
    copied = 0
    for ref in refs:
        place = target / ref.path
        if place.exists() or not (source / ref.path).exists():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.part")
        try:
            shutil.copy2(source / ref.path, part)
        except FileNotFoundError:
            continue  # a running job took it away meanwhile
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(place)
        copied += 1
    return copied


def wrong(refs: Iterable[FileRef], root: Path, *, may_miss: bool) -> list[str]:
    """Words about each file that is not what it was, or (unless it ``may_miss``) not there."""
    found: list[str] = []
    for ref in refs:
        path = root / ref.path
        if not path.is_file():
            found += [] if may_miss else [f"{ref.path} is missing"]
        elif path.stat().st_size != ref.size_bytes or digest_of_file(path) != ref.digest:
            found.append(f"{ref.path} was changed")
    return found


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def _of_job(job: JobRecord, storage: Path) -> Iterator[Path]:
    run = storage / "runs" / job.id
    checkpoint = storage / job.checkpoint.path if job.checkpoint else None
    for path in _below(run):
        parts = path.relative_to(run).parts
        is_log_that_grows = path.name == names.LOG_FILE and not job.state.is_final
        is_old_checkpoint = "checkpoints" in parts[1:2] and path.parent != checkpoint
        if not (NOT_KEPT & set(parts[1:2]) or is_log_that_grows or is_old_checkpoint):
            yield path


def _below(folder: Path) -> Iterator[Path]:
    """Whole files: hidden ones are half written, and no link is followed."""
    for here, folders, files in os.walk(folder):
        folders[:] = [one for one in folders if not one.startswith(".")]
        for name in files:
            path = Path(here) / name
            if not name.startswith(".") and not path.is_symlink():
                yield path


def _ref(path: Path, storage: Path) -> FileRef | None:
    try:
        return FileRef(path=str(path.relative_to(storage)), size_bytes=path.stat().st_size, digest=digest_of_file(path))
    except FileNotFoundError:
        return None
