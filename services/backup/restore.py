"""A backup's way back: verified first, into an empty Redis only, all or nothing, and resumable.

A marker in Redis says that a restore is under way; no control plane starts beside it. Every key is written in a way
that may be repeated, and the last step removes the marker: whoever broke off runs the same command again.
"""

import time
from pathlib import Path

from pydantic import ValidationError
from redis import Redis

from distill.contracts import names
from distill.contracts.audit import ServiceDid
from distill.contracts.base import Stored, digest_of_bytes, now
from distill.contracts.errors import Conflict, InvalidData
from services.backup.backup import FILES_FOLDER, KEYS_FILE, MANIFEST_FILE, Manifest
from services.backup.fencing import fence_all, fence_teachers
from services.backup.files import copy, wrong
from services.backup.keys import Entry, claim, finish, from_lines, open_for_copy, put
from services.control_plane.audit import files
from services.control_plane.audit.chain import START, seal
from services.control_plane.audit.log import APPEND, TAKE_UP
from services.control_plane.audit.reading import links_of
from services.control_plane.migrations import MIGRATIONS, SCHEMA_VERSION, steps_between

SHOWN = 5


class Restored(Stored):
    """What a restore did."""

    num_keys: int
    num_files: int
    """Those that it put on storage."""
    renumbered: list[str]
    """Jobs of which an attempt began after the backup: the next one's number is higher than any that was used."""
    restarted: list[str]
    """Jobs that begin anew: the checkpoint of then is not on storage any more."""
    republish: list[str]
    """Teachers of which a version was published after the backup: its number is used up, and it is to be published again."""
    missing: list[str]
    """Words about files that are not on storage as they were."""


def restore(source: Path, redis_url: str, storage: Path, *, may_be_incomplete: bool) -> Restored:
    """Put a backup into an empty Redis, and its files, where it has them, on storage. Nothing is ever overwritten.

    Raises:
        InvalidData: the backup is torn or was changed; nothing was touched.
        Conflict: Redis is not empty; a newer Stillhouse made the backup; or files are missing or changed on storage
            and that was not allowed. Nothing was touched.
        redis.RedisError: Redis doesn't answer: run it again.
        OSError: the storage doesn't take a file: run it again.
    """
    manifest, identity, entries = _verified(source)
    steps_between(manifest.schema_version, SCHEMA_VERSION, MIGRATIONS)  # the next start goes them, or there is no way
    missing = wrong(manifest.files, storage, may_miss=manifest.has_files)
    if missing and not may_be_incomplete:
        raise Conflict(
            f"{len(missing)} files that the backup's records refer to are not on storage as they were: {_first(missing)}",
            expected="the storage of then, or a backup that was made with --files",
            hint="with --incomplete the records are restored all the same",
        )
    with open_for_copy(redis_url) as redis:
        claim(redis, identity)
        num_files = copy(manifest.files, source / FILES_FOLDER, storage) if manifest.has_files else 0
        fenced, renumbered, restarted = fence_all(entries, storage, now())
        fenced, republish = fence_teachers(fenced, storage, now())
        put(redis, fenced, now_ms=int(time.time() * 1000))
        _note(redis, storage, manifest, identity)
        finish(redis, manifest.schema_version)
    return Restored(
        num_keys=len(entries), num_files=num_files, renumbered=renumbered, restarted=restarted, republish=republish,
        missing=missing,
    )  # fmt: skip


def _note(redis: Redis, storage: Path, manifest: Manifest, identity: str) -> None:
    """Write the restore down in the audit log, after what its files hold if they are newer than the backup."""
    if (last := files.last(storage)) is not None:
        redis.eval(TAKE_UP, 1, names.AUDIT_KEY, *last)
    newest = links_of(redis.xrevrange(names.AUDIT_KEY, count=1))
    head = newest[0].head if newest else START
    details: dict[str, str | int] = {
        "backup": identity,
        "made_at": manifest.made_at.isoformat(),
        "keys": manifest.num_keys,
    }
    (link,) = seal([ServiceDid(at=now(), what="restore", details=details)], head)
    redis.eval(APPEND, 1, names.AUDIT_KEY, head.hash, "0", *link)


def _verified(source: Path) -> tuple[Manifest, str, list[Entry]]:
    """The backup's manifest, its digest, and its keys."""
    try:
        text = (source / MANIFEST_FILE).read_bytes()
        lines = (source / KEYS_FILE).read_bytes()
        manifest = Manifest.model_validate_json(text)
    except FileNotFoundError as error:
        raise InvalidData(f"{source} is no backup: {Path(str(error.filename)).name} is missing") from error
    except ValidationError as error:
        raise InvalidData(f"{source / MANIFEST_FILE} can't be read: {error.errors()[0]['msg']}") from error
    if (came := digest_of_bytes(lines)) != manifest.keys_digest:
        raise InvalidData(
            f"{source / KEYS_FILE} was changed since the backup was made", expected=manifest.keys_digest, got=came
        )
    if manifest.has_files and (changed := wrong(manifest.files, source / FILES_FOLDER, may_miss=False)):
        raise InvalidData(f"{len(changed)} files in the backup are not what they were: {_first(changed)}")
    return manifest, digest_of_bytes(text), from_lines(lines)


def _first(words: list[str]) -> str:
    return ", ".join(words[:SHOWN]) + (", ..." if len(words) > SHOWN else "")
