"""The state folder of one stack: what runs (``stack.json``), who holds it (``stack.lock``), and where files lie."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from distill.contracts.base import Stored
from distill.contracts.credentials import KEY_FILE, STACK_FILE, read_key
from distill.contracts.errors import Conflict
from distill.contracts.keys import new_key, new_key_id
from distill.contracts.settings import NodeSettings
from services.stack.processes import ProcessId


class RedisState(Stored):
    """The Redis that the stack started, or the one that it was given."""

    url: str
    """With its password."""
    door_url: str | None = None
    """As the pool's HTTP door signs in; None: as all others do."""
    port: int | None = None
    process: ProcessId | None = None
    """None: it isn't ours, or it is stopped."""


class RayState(Stored):
    """The Ray head that the stack started."""

    ports: dict[str, int]
    """Option of ``ray start`` -> port."""
    folder: Path
    """Ray's own logs and sockets."""
    node: NodeSettings
    """What its environment says: workers inherit it."""
    door_port: int | None = None
    """Of the HTTP proxy that Serve starts here; None for a head of before there was one."""
    process: ProcessId | None = None

    @property
    def dashboard(self) -> str:
        """Base URL of the Jobs and Serve REST APIs."""
        return f"http://127.0.0.1:{self.ports['dashboard-port']}"


class ControlPlaneState(Stored):
    """The control plane that the stack started."""

    port: int
    process: ProcessId | None = None


class StackState(Stored):
    """``stack.json``: enough for another process to use, adopt, stop or clean the stack."""

    mark: str
    """Stands in the environment of every process of the stack, so that none is ever taken for one of ours wrongly."""
    url: str | None = None
    """Of the control plane."""
    up: ProcessId | None = None
    """The process that supervises; None after a clean stop."""
    redis: RedisState | None = None
    ray: RayState | None = None
    control_plane: ControlPlaneState | None = None

    def stopped(self) -> "StackState":
        """The same ports and files, with nothing running: the next start finds its way back."""
        parts = {name: getattr(self, name) for name in ("redis", "ray", "control_plane")}
        still = {name: part and part.model_copy(update={"process": None}) for name, part in parts.items()}
        return self.model_copy(update={**still, "up": None, "url": None})


class StackHome:
    """Paths of one state folder; nobody but its owner may read it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_file = folder / STACK_FILE
        self.lock_file = folder / "stack.lock"
        self.redis = folder / "redis"
        self.logs = folder / "logs"
        self.storage = folder / "storage"
        self.data = folder / "data"
        self.cache = folder / "cache"
        self.token = folder / "ray-token"
        self.key = folder / KEY_FILE

    def make(self) -> None:
        """Create the folders, for the owner alone."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        for path in (self.redis, self.logs, self.storage, self.data, self.cache):
            path.mkdir(mode=0o700, exist_ok=True)

    def read(self) -> StackState | None:
        """What was last written; None where nothing was, or where it can't be read."""
        try:
            return StackState.model_validate_json(self.state_file.read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValidationError):
            return None

    def write(self, state: StackState) -> None:
        """Replace ``stack.json`` in one step: a reader sees the old or the new, whole."""
        write_secret(self.state_file, state.model_dump_json(indent=2))

    def admin_key(self) -> str:
        """The operator's key, made at first; its owner alone may read it. Raises InvalidSpec if it was written over."""
        if not self.key.exists():
            write_secret(self.key, new_key(new_key_id()))
        return read_key(self.key)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for as long as this process supervises it.

        Raises:
            Conflict: another process holds it.
        """
        descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise self._held() from error
            yield
        finally:
            os.close(descriptor)

    def is_locked(self) -> bool:
        """Whether a process supervises this folder now."""
        try:
            with self.lock():
                return False
        except FileNotFoundError:
            return False
        except Conflict:
            return True

    def _held(self) -> Conflict:
        state = self.read()
        who = f"process {state.up.pid}" if state and state.up else "another process"
        where = f" at {state.url}" if state and state.url else ""
        return Conflict(
            f"a stack already runs on {self.folder}{where}, held by {who}",
            hint="use it as it is, stop it with `stillhouse down`, or choose another folder with STILLHOUSE_HOME",
        )


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner may read, in one step."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
