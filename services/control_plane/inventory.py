"""What lies on storage, in pieces that may go one by one. Only looks; follows no link."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from distill.contracts import names
from distill.contracts.wire import BookKey
from services.control_plane.retention import Sort, Thing

PARTS = {
    names.LOG_FILE: Sort.LOGS,
    "checkpoints": Sort.CHECKPOINTS,
    "train": Sort.CHECKPOINTS,
    "artifacts": Sort.ARTIFACTS,
    "snapshots": Sort.ARTIFACTS,
}
"""In an attempt's folder: what may go before its job. ``result.json`` and ``predictions.json`` are small, and stay."""

ASIDE = ".gone-"
"""Before the name of what is about to be deleted: whatever bears it is whole, and nobody's any more."""


def survey(storage: Path) -> list[Thing]:
    """Everything below the storage root that has a sort.

    Raises:
        OSError: the storage doesn't answer.
    """
    return [*_runs(storage), *_reports(storage), *_teachers(storage), *_books(storage)]


def aside(path: Path) -> Path:
    """What ``path`` is called while it is about to be deleted."""
    return path.with_name(f"{ASIDE}{path.name}")


def _runs(storage: Path) -> Iterator[Thing]:
    for run in _folders(storage / "runs"):
        yield _thing(storage, run, Sort.ORPHANS, f"job/{_name(run)}")
        if run.name.startswith(ASIDE):
            continue
        for attempt in _folders(run):
            for part in _entries(attempt):
                if sort := PARTS.get(_name(part)):
                    yield _thing(storage, part, sort, f"job/{run.name}")


def _reports(storage: Path) -> Iterator[Thing]:
    for report in _folders(storage / "reports"):
        kind, _, identity = _name(report).partition("-")
        if kind in {"job", "study"}:
            yield _thing(storage, report, Sort.ORPHANS, f"{kind}/{identity}")


def _teachers(storage: Path) -> Iterator[Thing]:
    for teacher in _folders(storage / "teachers"):
        for version in _folders(teacher):
            yield _thing(storage, version, Sort.ORPHANS, f"teacher/{teacher.name}/{_name(version)}")


def _books(storage: Path) -> Iterator[Thing]:
    for book in _folders(storage / names.ANSWERS_FOLDER):
        try:
            key = BookKey.model_validate_json((book / names.BOOK_FILE).read_bytes())
        except (FileNotFoundError, ValidationError):
            continue  # nobody knows what it is a book of; the bound on answers still holds for it
        yield _thing(storage, book, Sort.ANSWERS, key.teacher)


def _thing(storage: Path, path: Path, sort: Sort, owner: str) -> Thing:
    size_bytes, changed_at = _measure(path)
    return Thing(
        sort=sort,
        where=str(path.with_name(_name(path)).relative_to(storage)),
        owner=owner,
        size_bytes=size_bytes,
        changed_at=datetime.fromtimestamp(changed_at, UTC),
        is_aside=path.name.startswith(ASIDE),
    )


def _measure(path: Path) -> tuple[int, float]:
    """Bytes, and the time of the newest change. A running attempt may take a file away while we look: it counts nothing."""
    size_bytes, changed_at = 0, 0.0
    waiting = [path]
    while waiting:
        one = waiting.pop()
        try:
            status = one.lstat()
            if one.is_dir() and not one.is_symlink():
                waiting += [Path(entry) for entry in os.scandir(one)]
            else:
                size_bytes += status.st_size
        except FileNotFoundError:
            continue
        changed_at = max(changed_at, status.st_mtime)
    return size_bytes, changed_at


def _folders(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_dir()]


def _entries(folder: Path) -> list[Path]:
    """What lies in it, by name; hidden files are somebody's half-written ones, unless they are ours."""
    try:
        found = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    return [path for path in found if not path.is_symlink() and (path.name[0] != "." or path.name.startswith(ASIDE))]


def _name(path: Path) -> str:
    return path.name.removeprefix(ASIDE)
