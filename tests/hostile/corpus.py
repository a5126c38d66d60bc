"""What a hostile file is to the tests: how it is laid down, and who is asked to read it."""

import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

Spec = Mapping[str, Any]


@dataclass(frozen=True)
class HostileFile:
    """A file, or a folder of them, that nobody may accept."""

    what: str
    """Reads after "nobody reads"."""
    lay: Callable[[Path], object]
    """Puts it into an empty folder."""
    spec: Spec = field(default_factory=dict)
    """What the job file would say of it, beside the path."""
    reader: str = "weights"
    """One of `reader.READERS`."""
    path: str = "given"
    """Below the folder."""


class Touch:
    """Pickled, it makes a folder wherever it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self._canary = str(canary)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self._canary,)


CANARY = "canary"
"""A folder beside the case's own, which must never appear."""


def evil(folder: Path, protocol: int = 2) -> bytes:
    """A pickle that makes the canary of ``folder``."""
    return pickle.dumps(Touch(folder.parent / CANARY), protocol=protocol)


def safetensors_of(header: bytes, data: bytes = b"") -> bytes:
    """A file with this header, whatever it says."""
    return len(header).to_bytes(8, "little") + header + data


def honest_safetensors(**arrays: Any) -> bytes:
    """A file that every reader takes."""
    return bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def sparse(file: Path, start: bytes, size_bytes: int) -> None:
    """A file of so many bytes that takes no room on the disk, and begins with ``start``."""
    with file.open("wb") as opened:
        opened.write(start)
        opened.truncate(size_bytes)


def reset_peak() -> int:
    """Forget the greatest memory that this process took so far; what it takes now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(name: str) -> int:
    """``VmRSS`` or ``VmHWM`` (the greatest since `reset_peak`) of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
