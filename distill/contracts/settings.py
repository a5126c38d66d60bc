"""What a node's environment tells every process of ours: where Redis, the storage and the data are.

Secrets come this way too (a Redis password is part of the URL): the environment of a node, never a job's arguments.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from distill.contracts.base import Spec
from distill.contracts.models import ImportPath

ANSWERS_MEMORY_BYTES, ANSWERS_DISK_BYTES = 2 * 2**30, 20 * 2**30
DATASET_BYTES = 16 * 2**30


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
    dataset_bytes: int = Field(default=DATASET_BYTES, ge=2**20)
    """What a split of the user's own data may take in memory: a small file may say that it holds a terabyte of zeros."""
    answers_memory_bytes: int = Field(default=ANSWERS_MEMORY_BYTES, ge=2**20)
    """What the answer book may keep in memory; it lets go of the books that were not used for the longest time."""
    answers_disk_bytes: int = Field(default=ANSWERS_DISK_BYTES, ge=2**20)
    """What the answer book may keep on storage; it deletes the books that were not used for the longest time."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "NodeSettings":
        """Read ``STILLHOUSE_*``; a missing one is named.

        Raises:
            KeyError: a variable that has no default is not set.
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
            dataset_bytes=int(environment.get("STILLHOUSE_DATASET_BYTES", DATASET_BYTES)),
            answers_memory_bytes=int(environment.get("STILLHOUSE_ANSWERS_MEMORY_BYTES", ANSWERS_MEMORY_BYTES)),
            answers_disk_bytes=int(environment.get("STILLHOUSE_ANSWERS_DISK_BYTES", ANSWERS_DISK_BYTES)),
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


def listed(text: str) -> tuple[str, ...]:
    """What stands between the commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
