"""What a person's environment says about the one-machine stack; read once, where a command starts."""

import os
from collections.abc import Mapping
from pathlib import Path

from distill.contracts import credentials
from distill.contracts.base import Spec
from distill.contracts.settings import ANSWERS_DISK_BYTES, ANSWERS_MEMORY_BYTES, DATASET_BYTES, listed, number, sizes

DEFAULT_PORT = 8470
MAX_PORT = 65535


class StackSettings(Spec):
    """Where the stack keeps its state, and what it uses that it didn't start."""

    home: Path
    redis_url: str | None = None
    """An own Redis, used rather than started."""
    door_redis_url: str | None = None
    """That Redis, as the pool's HTTP door signs in; left out: as all others do."""
    data_root: Path | None = None
    """Left out: ``data`` in the state folder."""
    cache: Path | None = None
    """Left out: ``cache`` in the state folder."""
    fashion_mnist: Path | None = None
    plugins: tuple[str, ...] = ()
    dataset_bytes: int = DATASET_BYTES
    answers_memory_bytes: int = ANSWERS_MEMORY_BYTES
    answers_disk_bytes: int = ANSWERS_DISK_BYTES
    door_port: int | None = None
    """Of the pool's HTTP door; left out: the one after the control plane's, or any that is free."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "StackSettings":
        """Read ``STILLHOUSE_HOME``, ``REDIS_URL``, the folders of data, the plugins and the door's port; each has a default.

        Raises:
            InvalidSpec: a port or a number of bytes is none.
        """
        return cls(
            home=home_folder(environment),
            redis_url=environment.get("REDIS_URL") or None,
            door_redis_url=environment.get("STILLHOUSE_DOOR_REDIS_URL") or None,
            data_root=_folder(environment.get("STILLHOUSE_DATA_ROOT")),
            cache=_folder(environment.get("STILLHOUSE_CACHE")),
            fashion_mnist=_folder(environment.get("STILLHOUSE_FASHION_MNIST")),
            plugins=listed(environment.get("STILLHOUSE_PLUGINS", "")),
            **sizes(environment),
            door_port=number(environment, "STILLHOUSE_DOOR_PORT", 0, least=1, most=MAX_PORT) or None,
        )


def home_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """``STILLHOUSE_HOME``, or ``~/.stillhouse``."""
    return credentials.home_folder(environment)


def _folder(text: str | None) -> Path | None:
    return Path(text).expanduser().absolute() if text else None
