"""One book on storage: segments that are written once, whole or not at all, and never changed.

A segment is a safetensors file: ``digests`` (N, 16) uint8 and the answers' tensors (N, ...). Its metadata names its
book and carries a checksum over the tensors. What is torn, changed or foreign is put aside, and never used.

Shapes: N rows.
"""

import logging
import uuid
from hashlib import blake2b
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from distill.contracts.errors import InvalidAnswer
from distill.science.files import write_whole
from teacher_server.book.pages import Pages, Rows
from teacher_server.window import DIGESTS, Array

log = logging.getLogger(__name__)

SUFFIX = ".safetensors"
FORMAT = "1"
MAX_SMALL_SEGMENTS = 8
"""A book with more of them gets one in their place when it is loaded."""
SMALL_BYTES = 64 * 2**20


def write_segment(folder: Path, rows: Rows, *, book: str) -> Path:
    """Write rows to a new segment of ``book`` in ``folder``, which exists; it is on the disk on return.

    Raises:
        OSError: the storage doesn't take it.
    """
    path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
    metadata = {"format": FORMAT, "book": book, "checksum": _checksum(rows)}
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in _tensors(rows).items()}
    try:
        write_whole(path, lambda part: save_file(tensors, part, metadata=metadata))
    except SafetensorError as error:  # what a full disk looks like through safetensors
        raise OSError(f"a segment of {rows.num_bytes} bytes can't be written to {folder}: {error}") from error
    return path


def read_segment(path: Path, *, book: str) -> Rows:
    """The rows of a segment, checked.

    Raises:
        InvalidAnswer: it is torn, changed, or none of this book.
        OSError: the storage doesn't give it.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
    except SafetensorError as error:
        raise InvalidAnswer(f"not a whole safetensors file ({error})") from error
    if (metadata.get("format"), metadata.get("book")) != (FORMAT, book) or DIGESTS not in tensors:
        raise InvalidAnswer(f"not a segment of book {book}: its metadata say {metadata}")
    rows = Rows(tensors.pop(DIGESTS), tensors)
    rows.check()
    if (came := _checksum(rows)) != metadata.get("checksum"):
        raise InvalidAnswer(f"changed since it was written: checksum {metadata.get('checksum')} became {came}")
    return rows


def load_segments(folder: Path, *, book: str, max_bytes: int) -> Pages:
    """The rows of a book in memory; what can't be used is put aside, and many small segments become one.

    Args:
        folder: where they lie.
        book: whose they must be.
        max_bytes: of memory; segments beyond it are left unread.

    Raises:
        OSError: the storage doesn't give a file.
    """
    for left_over in folder.glob(".*"):
        log.warning("%s was left half written: removed", left_over)
        left_over.unlink(missing_ok=True)
    pages = Pages()
    sizes = {path: path.stat().st_size for path in sorted(folder.glob(f"*{SUFFIX}"))}
    # small ones first, so that together they are the first rows
    small = [path for path, size in sizes.items() if size < SMALL_BYTES and _read_into(pages, path, book, max_bytes)]
    if len(small) > MAX_SMALL_SEGMENTS:
        _merge(small, pages.rows(0, pages.num_rows), book)
    for path, size in sizes.items():
        if size >= SMALL_BYTES:
            _read_into(pages, path, book, max_bytes)
    pages.num_saved = pages.num_rows
    return pages


def put_aside(path: Path, suffix: str) -> Path:
    """Rename a file or folder so that nobody takes it for what it was, and say how it is called now."""
    aside = path.with_name(path.name + suffix)
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.{number}{suffix}")
    return path.rename(aside)


def _read_into(pages: Pages, path: Path, book: str, max_bytes: int) -> bool:
    if pages.num_bytes + path.stat().st_size > max_bytes:
        log.warning("%s stays unread: it and the rest of its book take more memory than %d bytes", path, max_bytes)
        return False
    try:
        pages.add(read_segment(path, book=book))
    except InvalidAnswer as error:
        aside = put_aside(path, ".aside")
        log.error(  # noqa: TRY400 - the reason is the whole story
            "a segment of answer book %s can't be used, and its rows will be computed anew; it is now %s: %s",
            book,
            aside,
            error,
        )
        return False
    return True


def _merge(segments: list[Path], rows: Rows, book: str) -> None:
    """Put one segment with their rows in the place of many."""
    try:
        # the one first: a crash in between leaves rows twice, and the first stays
        write_segment(segments[0].parent, rows, book=book)
        for path in segments:
            path.unlink(missing_ok=True)
    except OSError:
        log.exception("%d small segments of answer book %s could not become one: they stay", len(segments), book)


def _checksum(rows: Rows) -> str:
    digest = blake2b(digest_size=32)
    for name, tensor in sorted(_tensors(rows).items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape};".encode())
        digest.update(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _tensors(rows: Rows) -> dict[str, Array]:
    return {DIGESTS: rows.digests, **rows.answers}
