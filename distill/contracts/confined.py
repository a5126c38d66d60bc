"""Paths that others name: where they really lead, and whether that is below a root of the operator's."""

from pathlib import Path


class LeavesRoot(ValueError):
    """It leads out of the root: by ``..``, by a link, as an absolute path, or it is no path at all."""


class NoPlainFile(ValueError):
    """It is a device, a pipe or a socket: opening it may block, or never end."""


def real_path(root: Path, path: str) -> Path:
    """Where ``path`` below ``root`` really leads, whether or not there is something.

    Whoever opens a file calls this right before: between a job's submission and its start links may have changed.

    Raises:
        LeavesRoot: somewhere outside, or nowhere: links in a circle, names that no file system has.
        NoPlainFile: to something that is neither file nor folder.
    """
    try:
        real = (root / path).resolve()
        inside = real.is_relative_to(root.resolve())
        special = inside and real.exists() and not (real.is_file() or real.is_dir())
    except (OSError, ValueError, RuntimeError) as error:
        raise LeavesRoot(f"it is no path: {error}") from error
    if not inside:
        raise LeavesRoot("it leads out of the root")
    if special:
        raise NoPlainFile("it is neither a file nor a folder")
    return real
