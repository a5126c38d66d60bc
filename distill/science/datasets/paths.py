"""Paths that a user names: below the data root, whatever links and dots say."""

from pathlib import Path

from distill.contracts.confined import LeavesRoot, NoPlainFile, real_path
from distill.science.datasets.raw import invalid


def inside_root(root: Path, path: str, *, field: str) -> Path:
    """The real path of an existing file or folder below ``root``.

    Args:
        root: the data root of the node.
        path: as the job file has it, relative to the root.
        field: the place in the job file that errors name.

    Raises:
        InvalidData: it leads out of the root, isn't there, or is neither file nor folder.
    """
    try:
        real = real_path(root, path)
    except LeavesRoot as error:
        raise invalid(
            field,
            f"'{path}' leads out of the data root",
            expected="a path below the data root",
            got=path,
            hint="put the data, not a link to it, below the data root, and name it relative to that",
        ) from error
    except NoPlainFile as error:
        raise invalid(field, f"'{path}': {error}", expected="a file or a folder", got="a device or a pipe") from error
    if not real.exists():
        raise invalid(
            field, f"there is no '{path}' below the data root", expected="an existing file or folder", got=path
        )
    return real
