"""A backup: a folder with every key of one moment, and the digests of the files that records refer to.

===============  ==================================================================================
``backup.json``  what it is, and the digests of all the rest (`Manifest`)
``keys.jsonl``   one key of Redis a line
``files/``       the files, where they were asked for; else the storage is expected to outlive Redis
===============  ==================================================================================

The keys are read first, then the files: a file that a record names was whole before the record named it. What a
running job prunes in between, an older checkpoint, is not in the backup, and a restore says what follows.
"""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ValidationError

from distill.contracts import names
from distill.contracts.base import Digest, Stored, Timestamp, digest_of_bytes, now
from distill.contracts.errors import Conflict
from distill.contracts.records import JobRecord, StudyRecord
from distill.contracts.teachers import TeacherRecord
from services.backup.files import FileRef, copy, describe, referred
from services.backup.keys import Entry, open_for_copy, take, to_lines

log = logging.getLogger(__name__)

MANIFEST_FILE, KEYS_FILE, FILES_FOLDER = "backup.json", "keys.jsonl", "files"
KINDS: dict[names.Kind, type[BaseModel]] = {"job": JobRecord, "study": StudyRecord, "teacher": TeacherRecord}

Record = TypeVar("Record", bound=BaseModel)


class Manifest(Stored):
    """``backup.json``."""

    format: Literal["1"] = "1"
    schema_version: str
    made_at: Timestamp
    num_keys: int
    keys_digest: Digest
    files: tuple[FileRef, ...]
    has_files: bool
    """They are in the backup, and not only named."""

    @property
    def files_bytes(self) -> int:
        """Of all files together."""
        return sum(file.size_bytes for file in self.files)


def make_backup(redis_url: str, storage: Path, target: Path, *, with_files: bool) -> Manifest:
    """Write a backup to the new folder ``target``, for its owner alone; it appears whole or not at all.

    Raises:
        Conflict: ``target`` exists, or Redis holds a restore that was not finished.
        OSError: a file can't be read, or the backup can't be written.
        redis.RedisError: Redis doesn't answer.
    """
    if target.exists():
        raise Conflict(f"{target} exists already, and a backup is a folder of its own", got=str(target))
    with open_for_copy(redis_url) as redis:
        entries = take(redis)
    lines = to_lines(entries)
    found = referred(records_of(entries, JobRecord), records_of(entries, StudyRecord),
                     records_of(entries, TeacherRecord), storage)  # fmt: skip
    manifest = Manifest(
        schema_version=next((str(one.value) for one in entries if one.key == names.SCHEMA_KEY), "1"),
        made_at=now(),
        num_keys=len(entries),
        keys_digest=digest_of_bytes(lines),
        files=tuple(describe(found, storage)),
        has_files=with_files,
    )
    return _write(manifest, lines, storage, target)


def records_of(entries: Sequence[Entry], kind: type[Record]) -> list[Record]:
    """The records of a kind; one that can't be read is kept like any other key, but its files aren't known."""
    name = next(name for name, one in KINDS.items() if one is kind)
    found: list[Record] = []
    for entry in entries:
        if is_record(entry.key, name):
            try:
                found.append(kind.model_validate_json(entry.value))
            except ValidationError:
                log.exception("%s can't be read; it is kept as it is, without its files", entry.key)
    return found


def is_record(key: str, kind: names.Kind) -> bool:
    """Whether a key is that of a record."""
    identity = key.removeprefix(names.record_key(kind, ""))
    return identity != key and ":" not in identity


def _write(manifest: Manifest, lines: bytes, storage: Path, target: Path) -> Manifest:
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700, parents=True)
    if manifest.has_files:
        copy(manifest.files, storage, part / FILES_FOLDER)
        there = tuple(ref for ref in manifest.files if (part / FILES_FOLDER / ref.path).exists())
        manifest = manifest.model_copy(update={"files": there})
    (part / KEYS_FILE).write_bytes(lines)
    (part / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1) + "\n")
    part.rename(target)
    return manifest
