"""What the control plane's environment tells it; read once, at start."""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from distill.contracts import names
from distill.contracts.base import Spec
from distill.contracts.errors import InvalidSpec
from distill.contracts.settings import NodeSettings, listed
from services.control_plane.deployment import DOOR_HOST
from services.control_plane.webhooks.hosts import NOBODY, AllowedHosts


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
    door_port: int = 8471
    """Where Serve's HTTP proxy listens, on the loopback address of Ray's head; fixed when Serve first starts."""

    max_streams: int = Field(default=2000, ge=1)
    """Events and logs that are followed at once, of all teams."""
    max_team_streams: int = Field(default=500, ge=1)
    """Events and logs that are followed at once, of one team."""

    webhook_hosts: AllowedHosts = NOBODY
    """Whom job files may have told of an end."""
    webhook_secret_path: Path | None = None
    """The file with what webhooks are signed with."""

    @property
    def door(self) -> str:
        """Base URL of the pool's HTTP door."""
        return f"http://{DOOR_HOST}:{self.door_port}{names.DOOR_PREFIX}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the variables that docs/settings.md lists.

        Raises:
            KeyError: a variable without a default is not set.
            InvalidSpec: the host is not a loopback address, or webhooks are allowed and can't be signed.
        """
        token = environment.get("RAY_AUTH_TOKEN_PATH")
        told = AllowedHosts.parse(listed(environment.get("STILLHOUSE_WEBHOOK_HOSTS", "")))
        secret = environment.get("STILLHOUSE_WEBHOOK_SECRET_PATH")
        if told != NOBODY and not secret:
            raise InvalidSpec(
                "STILLHOUSE_WEBHOOK_HOSTS is set and STILLHOUSE_WEBHOOK_SECRET_PATH isn't: webhooks could not be signed",
                field="STILLHOUSE_WEBHOOK_SECRET_PATH",
                expected="a file with a random text, such as `openssl rand -base64 32` makes",
            )
        return cls(
            node=NodeSettings.from_environment(environment),
            ray_dashboard=environment["STILLHOUSE_RAY_DASHBOARD"].rstrip("/"),
            ray_token_path=Path(token) if token else None,
            host=refuse_unless_loopback(environment.get("STILLHOUSE_HOST", "127.0.0.1")),
            port=int(environment.get("STILLHOUSE_PORT", "8470")),
            teacher_idle_s=float(environment.get("STILLHOUSE_TEACHER_IDLE_S", "120")),
            door_port=int(environment.get("STILLHOUSE_DOOR_PORT", "8471")),
            webhook_hosts=told,
            webhook_secret_path=Path(secret) if secret else None,
            max_streams=int(environment.get("STILLHOUSE_MAX_STREAMS", "2000")),
            max_team_streams=int(environment.get("STILLHOUSE_MAX_TEAM_STREAMS", "500")),
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
