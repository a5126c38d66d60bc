"""The older entries of the log, on storage: files of some thousand lines that appear whole and never change.

``audit/000000000001-000000005000.jsonl`` holds entries 1 to 5,000, each a line of JSON with its hash in it. Files may
overlap, where two control planes moved the same entries at once: then they say the same.
"""

import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from distill.contracts import names
from distill.contracts.errors import InvalidData
from services.control_plane.audit.chain import Link, of_line, to_line

NAME = re.compile(r"([0-9]{12})-([0-9]{12})\.jsonl")


class Segment(NamedTuple):
    """A file: the numbers of its first and its last entry, and where it is."""

    first: int
    last: int
    path: Path


def segments(storage: Path) -> list[Segment]:
    """Every file of the log, in order. Raises OSError."""
    try:
        found = [(NAME.fullmatch(path.name), path) for path in (storage / names.AUDIT_FOLDER).iterdir()]
    except FileNotFoundError:
        return []
    return sorted(Segment(int(name[1]), int(name[2]), path) for name, path in found if name is not None)


def write(storage: Path, links: Sequence[Link]) -> None:
    """Keep entries that follow one another, whole or not at all, and on the disk when it returns. Raises OSError."""
    folder = storage / names.AUDIT_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{links[0].number:012d}-{links[-1].number:012d}.jsonl"
    part = place.with_name(f".{place.name}.{secrets.token_hex(4)}.part")
    with part.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(f"{to_line(link)}\n" for link in links)
        file.flush()
        os.fsync(file.fileno())
    part.replace(place)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # the name too: Redis is about to forget these
    finally:
        os.close(descriptor)


def last(storage: Path) -> Link | None:
    """The newest entry that is in a file; None if none is.

    Raises:
        InvalidData: it can't be read: what would follow on it can't be known.
        OSError: the storage doesn't answer.
    """
    found = max(segments(storage), key=lambda segment: segment.last, default=None)
    if found is None:
        return None
    links = read(found)
    if not links or links[-1].number != found.last or not links[-1].hash:
        raise InvalidData(
            f"{found.path} is not what the audit log's writer left there: the log can't go on after it",
            got=str(found.path),
            hint="put it back from a backup; or move the folder away, and keep it: then a new log begins",
        )
    return links[-1]


def onward(storage: Path, first: int) -> list[Link]:
    """Entries from this number on, as far as one file goes; of the next file, if none has it; none at the end."""
    there = segments(storage)
    for segment in there:
        if segment.first <= first <= segment.last and (links := read(segment)[first - segment.first :]):
            return links
    later = [segment for segment in there if segment.first > first]
    return read(later[0]) if later else []


def back(storage: Path, before: int) -> list[Link]:
    """Entries below this number, the newest first, as far as one file goes; none where there are none."""
    for segment in sorted(segments(storage), key=lambda segment: segment.last, reverse=True):
        if segment.first < before and (links := read(segment)[: before - segment.first]):
            return links[::-1]
    return []


def read(segment: Segment) -> list[Link]:
    """What the file holds, each entry by its place. Raises OSError."""
    text = segment.path.read_text(encoding="utf-8", errors="surrogateescape")
    return [of_line(segment.first + place, line) for place, line in enumerate(text.split("\n")[:-1])]
