"""All books on storage: a folder each, below the storage root, and no more of them than there is room for."""

import logging
import os
import shutil
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from distill.contracts.base import digest_of
from distill.contracts.names import BOOK_FILE
from distill.contracts.wire import BookKey
from distill.science.files import write_whole
from teacher_server.book.pages import Pages, Rows
from teacher_server.book.segments import load_segments, put_aside, write_segment

log = logging.getLogger(__name__)

REFUSED = ".refused"


@lru_cache(maxsize=4096)
def book_id(key: BookKey) -> str:
    """The name of a book's folder: 128 bits of its key's digest."""
    return digest_of(key).removeprefix("sha256:")[:32]


class Shelf:
    """The books below one folder. Its methods wait for the disk, and for one another: call them in threads."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._one_at_a_time = threading.Lock()

    def load(self, key: BookKey, *, max_bytes: int) -> Pages:
        """What storage knows of a book, up to ``max_bytes`` of memory; nothing, if it was never saved.

        Raises:
            OSError: the storage doesn't give it.
        """
        folder = self._folder_of(key)
        with self._one_at_a_time:
            if not folder.is_dir():
                return Pages()
            self._label(key)
            return load_segments(folder, book=book_id(key), max_bytes=max_bytes)

    def save(self, key: BookKey, rows: Rows) -> None:
        """Write rows to a segment of their own; of a book that takes all the room by itself, no more is written.

        Raises:
            OSError: the storage doesn't take it.
        """
        folder = self._folder_of(key)
        with self._one_at_a_time:
            self._save(key, folder, rows)

    def refuse(self, key: BookKey) -> Path | None:
        """Move a book's folder aside, and say where to; None if storage knows nothing of it.

        Raises:
            OSError: the storage doesn't do it.
        """
        folder = self._folder_of(key)
        with self._one_at_a_time:
            return put_aside(folder, REFUSED) if folder.is_dir() else None

    def make_room(self, in_memory: Sequence[str]) -> list[str]:
        """Delete books until all fit, refused ones first, then those least recently used; the last one always stays.

        Args:
            in_memory: ids of books in use, least recently used first: later than all others.

        Returns:
            Names of the folders that were deleted.

        Raises:
            OSError: the storage doesn't do it.
        """
        with self._one_at_a_time:
            return self._make_room(in_memory)

    def _save(self, key: BookKey, folder: Path, rows: Rows) -> None:
        self._label(key)
        if _size(folder) + rows.num_bytes > self._max_bytes:
            log.warning(
                "answer book %s is full, all books may take %d bytes: no more is saved", folder, self._max_bytes
            )
            return
        write_segment(folder, rows, book=book_id(key))

    def _make_room(self, in_memory: Sequence[str]) -> list[str]:
        order = {book: place for place, book in enumerate(in_memory)}
        folders = [path for path in self._folder.iterdir() if path.is_dir()] if self._folder.is_dir() else []
        folders.sort(key=lambda path: (not path.name.endswith(REFUSED), order.get(path.name, -1), _used_at(path)))
        sizes = [_size(path) for path in folders]
        deleted: list[str] = []
        for path, size in zip(folders[:-1], sizes, strict=False):
            if sum(sizes) - sum(sizes[: len(deleted)]) <= self._max_bytes:
                break
            log.warning("answer book %s, %d bytes, is deleted: all books may take %d", path.name, size, self._max_bytes)
            shutil.rmtree(path)
            deleted.append(path.name)
        return deleted

    def _folder_of(self, key: BookKey) -> Path:
        return self._folder / book_id(key)

    def _label(self, key: BookKey) -> None:
        """See that the folder is there and says whose it is; its label's time is that of its last use."""
        label = self._folder_of(key) / BOOK_FILE
        if label.exists():
            os.utime(label)
            return
        label.parent.mkdir(parents=True, exist_ok=True)
        write_whole(label, lambda part: part.write_text(key.model_dump_json(indent=2)))


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _used_at(folder: Path) -> float:
    label = folder / BOOK_FILE
    return (label if label.exists() else folder).stat().st_mtime
