"""What the control plane's environment tells it; read once, at start."""

import ipaddress
import math
import os
from collections.abc import Mapping
from pathlib import Path

from distill.contracts import names
from distill.contracts.base import Spec
from distill.contracts.errors import InvalidSpec
from distill.contracts.settings import NodeSettings
from services.control_plane.deployment import DOOR_HOST
from services.control_plane.retention import Policy


class Settings(Spec):
    """Where things are, and the bounds of the API."""

    node: NodeSettings
    ray_dashboard: str
    """Base URL of Ray's dashboard: Jobs and Serve REST."""
    ray_token_path: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8470
    max_body_bytes: int = 1 << 20
    teacher_idle_s: float = 120.0
    """A teacher that no job and no reservation needs leaves the cluster after so long."""
    keep: Policy = Policy()
    """For how long what has ended is kept."""
    door_port: int = 8471
    """Where Serve's HTTP proxy listens, on the loopback address of Ray's head; fixed when Serve first starts."""

    @property
    def door(self) -> str:
        """Base URL of the pool's HTTP door."""
        return f"http://{DOOR_HOST}:{self.door_port}{names.DOOR_PREFIX}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the variables that docs/settings.md lists.

        Raises:
            KeyError: a variable without a default is not set.
            InvalidSpec: the host is not a loopback address, or a number of days is none.
        """
        token = environment.get("RAY_AUTH_TOKEN_PATH")
        return cls(
            node=NodeSettings.from_environment(environment),
            ray_dashboard=environment["STILLHOUSE_RAY_DASHBOARD"].rstrip("/"),
            ray_token_path=Path(token) if token else None,
            host=refuse_unless_loopback(environment.get("STILLHOUSE_HOST", "127.0.0.1")),
            port=int(environment.get("STILLHOUSE_PORT", "8470")),
            teacher_idle_s=float(environment.get("STILLHOUSE_TEACHER_IDLE_S", "120")),
            door_port=int(environment.get("STILLHOUSE_DOOR_PORT", "8471")),
            keep=_policy(environment),
        )


KEEP_DAYS = {
    "events": "STILLHOUSE_KEEP_EVENTS_DAYS",
    "logs": "STILLHOUSE_KEEP_LOGS_DAYS",
    "checkpoints": "STILLHOUSE_KEEP_CHECKPOINTS_DAYS",
    "artifacts": "STILLHOUSE_KEEP_ARTIFACTS_DAYS",
    "answers": "STILLHOUSE_KEEP_ANSWERS_DAYS",
    "orphans": "STILLHOUSE_KEEP_ORPHANS_DAYS",
}


def _policy(environment: Mapping[str, str]) -> Policy:
    """What these variables say; 0 is for ever."""
    days: dict[str, float | None] = {}
    for sort, variable in KEEP_DAYS.items():
        text = environment.get(variable, "")
        if text:
            days[sort] = _days(variable, text) or None
    return Policy(**days)


def _days(variable: str, text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if 0 <= days < math.inf:
        return days
    raise InvalidSpec(
        f"{variable} is {text!r}, and no number of days",
        field=variable,
        expected="a number of days, such as 30 or 0.5; 0 keeps for ever",
        got=text,
    )


def refuse_unless_loopback(host: str) -> str:
    """``host``, if only this machine can reach it.

    Raises:
        InvalidSpec: it is another address: there are no API keys yet, so anyone who reaches the port could run jobs.
    """
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if is_loopback:
        return host
    raise InvalidSpec(
        f"STILLHOUSE_HOST is {host!r}, which others can reach, and there are no API keys yet: anyone could run jobs. "
        "Listen on 127.0.0.1, and let people in through an SSH tunnel.",
        field="STILLHOUSE_HOST",
        expected="a loopback address, such as 127.0.0.1 or ::1",
        got=host,
    )
