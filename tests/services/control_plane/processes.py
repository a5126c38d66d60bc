"""A control plane in a process of its own, as it is started for real; its Ray isn't there."""

import os
import sys
from pathlib import Path

import httpx

from distill.contracts.keys import hash_of_key
from services.stack.processes import Child, free_ports, spawn, wait_until_answers


def start_control_plane(redis_url: str, folder: Path, *, port: int, key: str) -> Child:
    """Start it, with this key for its first admin; returns once it answers, and leaves nothing where it doesn't."""
    log = folder / "control-plane.log"
    environment = os.environ | environment_of(redis_url, folder, port=port, key=key)
    command = [sys.executable, "-m", "services.control_plane"]
    child = spawn(command, environment=environment, folder=Path.cwd(), log=log)
    try:
        wait_until_answers("the control plane", child, lambda: answers(port), timeout_s=60, log=log, every_s=0.02)
    except BaseException:
        child.kill()
        raise
    return child


def environment_of(redis_url: str, folder: Path, *, port: int, key: str) -> dict[str, str]:
    """What it must know of its surroundings."""
    return {
        "STILLHOUSE_REDIS_URL": redis_url,
        "STILLHOUSE_STORAGE": str(folder),
        "STILLHOUSE_RAY_DASHBOARD": f"http://127.0.0.1:{free_ports(1)[0]}",
        "STILLHOUSE_PORT": str(port),
        "STILLHOUSE_ADMIN_KEY_HASH": str(hash_of_key(key)),
    }


def answers(port: int) -> bool:
    """Whether a control plane is there."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2).is_success
    except httpx.HTTPError:
        return False
