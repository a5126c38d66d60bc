"""What the control plane's environment tells it; read once, at start."""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from distill.contracts import names
from distill.contracts.base import Spec
from distill.contracts.errors import InvalidSpec
from distill.contracts.settings import NodeSettings
from services.control_plane.deployment import DOOR_HOST


class Settings(Spec):
    """Where things are, and the bounds of the API."""

    node: NodeSettings
    ray_dashboard: str
    """Base URL of Ray's dashboard: Jobs and Serve REST."""
    ray_token_path: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8470
    max_body_bytes: int = 1 << 20
    max_held_bytes: int = 1 << 26
    """Of bodies that are being read or answered, all together: further ones are refused, and may come again."""
    body_s: float = Field(default=30.0, gt=0)
    """In which the body of a request must have come."""
    max_connections: int = Field(default=4096, ge=1)
    """Open at a time, followers included."""
    requests_per_s: float = Field(default=500, ge=1)
    """Of one team, in the long run."""
    requests_at_once: float = Field(default=5000, ge=1)
    """Of one team that has rested."""
    teacher_idle_s: float = 120.0
    """A teacher that no job and no reservation needs leaves the cluster after so long."""
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
            InvalidSpec: the host is not a loopback address.
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
            requests_per_s=float(environment.get("STILLHOUSE_REQUESTS_PER_S", "500")),
            requests_at_once=float(environment.get("STILLHOUSE_REQUESTS_AT_ONCE", "5000")),
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
