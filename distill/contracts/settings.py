"""What a node's environment tells every process of ours: where Redis, the storage and the data are.

Secrets come this way too (a Redis password is part of the URL): the environment of a node, never a job's arguments.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from distill.contracts.base import Spec
from distill.contracts.errors import InvalidSpec
from distill.contracts.models import ImportPath

ANSWERS_MEMORY_BYTES, ANSWERS_DISK_BYTES = 2 * 2**30, 20 * 2**30
DATASET_BYTES = 16 * 2**30
LEAST_BYTES = 2**20

Number = TypeVar("Number", int, float)


class NodeSettings(Spec):
    """Read once, where a process starts, and handed down."""

    redis_url: str
    door_redis_url: str | None = None
    """As the pool's HTTP door signs in, which reads keys and reservations and needs no more; left out: as all others do."""
    storage: Path
    """The root of runs, teachers and reports: shared by every node."""
    data_root: Path
    """The user's own data and weights lie below it, and nothing outside it is ever read."""
    cache: Path
    """Public data sets, fetched once."""
    fashion_mnist: Path | None = None
    """A folder with the four IDX files of Fashion-MNIST, if the operator has one."""
    plugins: tuple[ImportPath, ...] = ()
    """The factories of models that job files may name: no other module is ever imported for them."""
    dataset_bytes: int = Field(default=DATASET_BYTES, ge=LEAST_BYTES)
    """What a split of the user's own data may take in memory: a small file may say that it holds a terabyte of zeros."""
    answers_memory_bytes: int = Field(default=ANSWERS_MEMORY_BYTES, ge=LEAST_BYTES)
    """What the answer book may keep in memory; it lets go of the books that were not used for the longest time."""
    answers_disk_bytes: int = Field(default=ANSWERS_DISK_BYTES, ge=LEAST_BYTES)
    """What the answer book may keep on storage; it deletes the books that were not used for the longest time."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "NodeSettings":
        """Read ``STILLHOUSE_*``; a missing one is named.

        Raises:
            KeyError: a variable that has no default is not set.
            InvalidSpec: a number of bytes is none, or too small.
        """
        storage = Path(environment["STILLHOUSE_STORAGE"])
        folder = environment.get("STILLHOUSE_FASHION_MNIST")
        return cls(
            redis_url=environment["STILLHOUSE_REDIS_URL"],
            door_redis_url=environment.get("STILLHOUSE_DOOR_REDIS_URL") or None,
            storage=storage,
            data_root=Path(environment.get("STILLHOUSE_DATA_ROOT", storage / "data")),
            cache=Path(environment.get("STILLHOUSE_CACHE", storage / "cache")),
            fashion_mnist=Path(folder) if folder else None,
            plugins=listed(environment.get("STILLHOUSE_PLUGINS", "")),
            **sizes(environment),
        )

    def to_environment(self) -> dict[str, str]:
        """The variables that `from_environment` reads."""
        variables = {
            "STILLHOUSE_REDIS_URL": self.redis_url,
            "STILLHOUSE_STORAGE": str(self.storage),
            "STILLHOUSE_DATA_ROOT": str(self.data_root),
            "STILLHOUSE_CACHE": str(self.cache),
        }
        if self.door_redis_url is not None:
            variables["STILLHOUSE_DOOR_REDIS_URL"] = self.door_redis_url
        if self.fashion_mnist is not None:
            variables["STILLHOUSE_FASHION_MNIST"] = str(self.fashion_mnist)
        if self.plugins:
            variables["STILLHOUSE_PLUGINS"] = ",".join(self.plugins)
        # the defaults are not named, so that a node may have bounds of its own
        if self.dataset_bytes != DATASET_BYTES:
            variables["STILLHOUSE_DATASET_BYTES"] = str(self.dataset_bytes)
        if self.answers_memory_bytes != ANSWERS_MEMORY_BYTES:
            variables["STILLHOUSE_ANSWERS_MEMORY_BYTES"] = str(self.answers_memory_bytes)
        if self.answers_disk_bytes != ANSWERS_DISK_BYTES:
            variables["STILLHOUSE_ANSWERS_DISK_BYTES"] = str(self.answers_disk_bytes)
        return variables


def sizes(environment: Mapping[str, str]) -> dict[str, int]:
    """Field -> what the environment says of it, for the bounds in bytes. Raises InvalidSpec."""
    return {
        field: number(environment, f"STILLHOUSE_{field.upper()}", default, least=LEAST_BYTES)
        for field, default in (
            ("dataset_bytes", DATASET_BYTES),
            ("answers_memory_bytes", ANSWERS_MEMORY_BYTES),
            ("answers_disk_bytes", ANSWERS_DISK_BYTES),
        )
    }


def number(
    environment: Mapping[str, str], name: str, default: Number, *, least: Number, most: float = math.inf
) -> Number:
    """What the variable ``name`` says, as a number of the default's type; the default where it is empty, or not set.

    Raises:
        InvalidSpec: it is no such number, or not between ``least`` and ``most``.
    """
    text = environment.get(name, "").strip()
    if not text:
        return default
    try:
        found = type(default)(text)
    except ValueError:
        found = None
    if found is not None and least <= found <= most and found < math.inf:
        return found
    kind = "a whole number" if isinstance(default, int) else "a number"
    expected = f"{kind}, at least {least:.15g}" if most == math.inf else f"{kind} from {least:.15g} to {most:.15g}"
    raise InvalidSpec(f"{name} is {text!r}, and has to be {expected}", field=name, expected=expected, got=text)


def listed(text: str) -> tuple[str, ...]:
    """What stands between the commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
