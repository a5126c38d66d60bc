"""A Ray head for one machine: a child process of our own, on ports of its own, never found or stopped by name."""

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from distill.contracts.errors import Conflict
from distill.contracts.settings import NodeSettings
from services.loopback import json_at
from services.stack.home import RayState, StackHome, write_secret
from services.stack.processes import Child, free_ports, is_free, spawn, wait_until_answers

PORTS = (
    "port",
    "dashboard-port",
    "node-manager-port",
    "object-manager-port",
    "ray-client-server-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)
"""All are given, or a second cluster on the machine would meet this one on Ray's fixed defaults."""

MAX_PARENT_LENGTH = 20
OBJECT_STORE_BYTES = 512 << 20
"""Windows of rows and answers pass through it; nothing stays."""


def ray_environment(home: StackHome) -> dict[str, str]:
    """What every process that speaks to this Ray needs; makes the token at first."""
    if not home.token.exists():
        write_secret(home.token, secrets.token_hex(32))
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(home.token)}


def start_ray(
    home: StackHome,
    *,
    node: NodeSettings,
    door_port: int,
    environment: Mapping[str, str],
    num_cpus: int,
    last: RayState | None,
) -> tuple[Child, RayState]:
    """Start the head; it answers later (`wait_for_ray`). Serve, once it is asked for, listens on ``door_port``."""
    ports = _ports(last)
    folder = _short_folder()
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--disable-usage-stats"),
        f"--num-cpus={num_cpus}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        f"--temp-dir={folder / 'ray'}",  # Ray opens this one to everybody; the folder above stays shut
        *(f"--{name}={port}" for name, port in ports.items()),
    ]
    # Ray's own actors look their head up; on a machine with several clusters they would find another's
    known = {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{ports['dashboard-port']}"}
    child = spawn(command, environment=_clean(environment) | known, folder=home.folder, log=home.logs / "ray.log")
    return child, RayState(ports=ports, folder=folder, node=node, door_port=door_port, process=child.identity)


def choose_door_port(asked: int | None, *, beside: int, last: RayState | None) -> int:
    """Where Serve's HTTP proxy is to listen on a head that is about to be started.

    Args:
        asked: the operator's choice.
        beside: the control plane's port as it was asked for: the one after it is easy to remember; 0 for any.
        last: the head of before, whose port is taken again.

    Raises:
        Conflict: somebody else listens on the port that was asked for.
    """
    if asked is not None:
        if not is_free(asked):
            raise Conflict(
                f"port {asked} is taken by another program",
                field="STILLHOUSE_DOOR_PORT",
                expected="a free port",
                got=str(asked),
                hint="name another with STILLHOUSE_DOOR_PORT, or leave it unset for any that is free",
            )
        return asked
    wished = [last.door_port if last else None, beside + 1 if beside else None]
    return next((port for port in wished if port is not None and is_free(port)), None) or free_port_for_later()


def free_port_for_later() -> int:
    """A port that nobody listens on, and that Linux gives to no connection meanwhile: Serve may start much later."""
    below_ephemeral = range(16_384, 32_768)
    tries = (secrets.choice(below_ephemeral) for _ in range(1000))
    return next(port for port in tries if is_free(port))


def wait_for_ray(child: Child, state: RayState, home: StackHome, *, timeout_s: float = 120.0) -> None:
    """Wait until it can take jobs.

    Raises:
        DependencyDown: it ended, or ``timeout_s`` went by.
    """
    wait_until_answers(
        "Ray", child, lambda: answers(state, home), timeout_s=timeout_s, log=home.logs / "ray.log", every_s=0.2
    )


def answers(state: RayState, home: StackHome) -> bool:
    """Whether this head takes our token, and a node of it has CPUs to give."""
    token = {"Authorization": f"Bearer {home.token.read_text().strip()}"}
    try:
        nodes = json_at(f"{state.dashboard}/nodes?view=summary", headers=token)["data"]["summary"]
    except (TypeError, KeyError):
        return False
    return any(node["raylet"].get("resourcesTotal", {}).get("CPU", 0) > 0 for node in nodes)


def forget_ray(state: RayState) -> None:
    """Remove Ray's own folder, once nothing of it runs."""
    shutil.rmtree(state.folder, ignore_errors=True)


def logical_cpus() -> int:
    """What Ray is told: at least 2, so that a teacher, a student and a baseline fit on the smallest machine."""
    return max(2, os.cpu_count() or 2)


def _ports(last: RayState | None) -> dict[str, int]:
    if last and set(last.ports) == set(PORTS) and all(is_free(port) for port in last.ports.values()):
        return last.ports
    return dict(zip(PORTS, free_ports(len(PORTS)), strict=True))


def _short_folder() -> Path:
    """A new folder for the owner alone; sockets lie deep below it, and their paths may not exceed 107 characters."""
    usual = tempfile.gettempdir()
    parent = usual if len(usual) <= MAX_PARENT_LENGTH else "/tmp"  # noqa: S108 - mkdtemp makes what nobody else can guess
    return Path(tempfile.mkdtemp(prefix="stillhouse-", dir=parent))


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in environment.items() if name != "RAY_ADDRESS"}
    # without this Ray waits half a minute for workers to leave before it stops
    return own | {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}
