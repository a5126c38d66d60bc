"""The control plane as a child process."""

import sys
from collections.abc import Mapping

from distill.contracts.errors import Conflict
from distill.contracts.keys import hash_of_key
from services.loopback import json_at
from services.stack.home import ControlPlaneState, RayState, StackHome
from services.stack.processes import Child, free_ports, is_free, spawn, wait_until_answers


def choose_port(asked: int, last: ControlPlaneState | None) -> int:
    """The port that was asked for; for 0 the last one, or any that is free.

    Raises:
        Conflict: somebody else listens on it.
    """
    if asked == 0:
        return last.port if last and is_free(last.port) else free_ports(1)[0]
    if not is_free(asked):
        raise Conflict(
            f"port {asked} is taken by another program",
            field="port",
            expected="a free port",
            got=str(asked),
            hint="give another with `stillhouse up --port`; 0 takes any that is free",
        )
    return asked


def start_control_plane(
    home: StackHome, *, environment: Mapping[str, str], port: int, ray: RayState
) -> tuple[Child, ControlPlaneState]:
    """Start it; it answers later (`wait_for_control_plane`)."""
    variables = {
        "STILLHOUSE_RAY_DASHBOARD": ray.dashboard,
        "STILLHOUSE_HOST": "127.0.0.1",
        "STILLHOUSE_PORT": str(port),
        "STILLHOUSE_ADMIN_KEY_HASH": str(hash_of_key(home.admin_key())),
        "STILLHOUSE_DOOR_PORT": str(ray.door_port),
    }
    child = spawn(
        [sys.executable, "-m", "services.control_plane"],
        environment={**environment, **variables},
        folder=home.folder,
        log=home.logs / "control-plane.log",
    )
    return child, ControlPlaneState(port=port, process=child.identity)


def wait_for_control_plane(child: Child, url: str, home: StackHome, *, timeout_s: float = 60.0) -> None:
    """Wait until it is ready: Redis and Ray answer it.

    Raises:
        DependencyDown: it ended, or ``timeout_s`` went by.
    """
    log = home.logs / "control-plane.log"
    wait_until_answers("The control plane", child, lambda: is_ready(url), timeout_s=timeout_s, log=log)


def is_ready(url: str) -> bool:
    """Whether ``/readyz`` says so."""
    return json_at(f"{url}/readyz") is not None
