"""Files and folders that appear whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file beside ``path``, flush it to the disk, and rename it into place.

    Args:
        path: where the file shall appear; its folder exists.
        write: gets the path of an empty file of the same suffix, and fills it.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(descriptor)
    part = Path(name)
    try:
        write(part)
        # a temporary file is its owner's alone; what it becomes is shared like any other file
        part.chmod(0o644)
        _flush(part)
        part.replace(path)
        _flush(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_whole_folder(path: Path, fill: Callable[[Path], object]) -> None:
    """Let ``fill`` put files into a folder beside ``path``, flush them to the disk, and rename it into place.

    Args:
        path: where the folder shall appear, in place of what is there; its parents are made if need be.
        fill: gets the path of an empty folder.
    """
    part = path.with_name(f".{path.name}.part")
    for old in (part, path):
        shutil.rmtree(old, ignore_errors=True)
    part.mkdir(parents=True)
    fill(part)
    for file in part.iterdir():
        _flush(file)
    _flush(part)
    part.rename(path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
