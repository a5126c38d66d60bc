"""What the control plane's environment tells it; read once, at start."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from distill.contracts import names
from distill.contracts.base import Spec
from distill.contracts.errors import InvalidSpec
from distill.contracts.keys import KeyHash
from distill.contracts.settings import NodeSettings, listed, number
from services.control_plane.deployment import DOOR_HOST
from services.control_plane.retention import Policy
from services.control_plane.webhooks.hosts import NOBODY, AllowedHosts
from services.loopback import is_on_loopback

MAX_PORT = 65535


class Settings(Spec):
    """Where things are, and the bounds of the API."""

    node: NodeSettings
    ray_dashboard: str
    """Base URL of Ray's dashboard: Jobs and Serve REST."""
    ray_token_path: Path | None = None
    admin_key: KeyHash | None = None
    """The operator's first key, let in at start; left out: those that Redis knows already."""
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
    keep: Policy = Policy()
    """For how long what has ended is kept."""
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
            InvalidSpec: the key's hash is none, Ray's dashboard is on another machine and no token for it is given,
                webhooks are allowed and can't be signed, or a number is none, or out of its bounds.
        """
        token = environment.get("RAY_AUTH_TOKEN_PATH")
        refuse_unguarded(environment["STILLHOUSE_RAY_DASHBOARD"], has_token=bool(token))
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
            admin_key=_key_hash(environment.get("STILLHOUSE_ADMIN_KEY_HASH", "")),
            host=environment.get("STILLHOUSE_HOST") or "127.0.0.1",
            port=number(environment, "STILLHOUSE_PORT", 8470, least=0, most=MAX_PORT),
            teacher_idle_s=number(environment, "STILLHOUSE_TEACHER_IDLE_S", 120.0, least=0.0),
            door_port=number(environment, "STILLHOUSE_DOOR_PORT", 8471, least=1, most=MAX_PORT),
            requests_per_s=number(environment, "STILLHOUSE_REQUESTS_PER_S", 500.0, least=1.0),
            requests_at_once=number(environment, "STILLHOUSE_REQUESTS_AT_ONCE", 5000.0, least=1.0),
            webhook_hosts=told,
            webhook_secret_path=Path(secret) if secret else None,
            max_streams=number(environment, "STILLHOUSE_MAX_STREAMS", 2000, least=1),
            max_team_streams=number(environment, "STILLHOUSE_MAX_TEAM_STREAMS", 500, least=1),
            keep=_policy(environment),
        )


KEEP_DAYS = {
    "events": "STILLHOUSE_KEEP_EVENTS_DAYS",
    "logs": "STILLHOUSE_KEEP_LOGS_DAYS",
    "checkpoints": "STILLHOUSE_KEEP_CHECKPOINTS_DAYS",
    "artifacts": "STILLHOUSE_KEEP_ARTIFACTS_DAYS",
    "answers": "STILLHOUSE_KEEP_ANSWERS_DAYS",
    "orphans": "STILLHOUSE_KEEP_ORPHANS_DAYS",
    "audit": "STILLHOUSE_KEEP_AUDIT_DAYS",
}


def _policy(environment: Mapping[str, str]) -> Policy:
    """What these variables say; 0 is for ever."""
    usual = {sort: float(Policy.model_fields[sort].default or 0) for sort in KEEP_DAYS}
    found = {sort: number(environment, KEEP_DAYS[sort], days, least=0.0) or None for sort, days in usual.items()}
    return Policy(**found)


def refuse_unguarded(dashboard: str, *, has_token: bool) -> None:
    """See that nobody else can start jobs on the Ray that we are to use.

    Raises:
        InvalidSpec: its dashboard is on another machine, and there is no token to show it. Whether one that has a token
            also asks for it is seen when it is first spoken to (`ray_rest.RayRest`).
    """
    if has_token or is_on_loopback(dashboard):
        return
    raise InvalidSpec(
        f"Ray's dashboard at {dashboard} can be reached by others, and it has no token: whoever reaches it runs any code. "
        "Start Ray with RAY_AUTH_MODE=token, and name the token's file in RAY_AUTH_TOKEN_PATH.",
        field="RAY_AUTH_TOKEN_PATH",
        expected="the file with Ray's token, or a dashboard on loopback",
        got=dashboard,
    )


def _key_hash(text: str) -> KeyHash | None:
    """What `KeyHash` prints. Raises InvalidSpec."""
    if not text:
        return None
    found = re.fullmatch(r"([a-z2-9]{10}):(sha256:[0-9a-f]{64})", text)
    if found is None:
        raise InvalidSpec(
            "STILLHOUSE_ADMIN_KEY_HASH is not the hash of a key",
            field="STILLHOUSE_ADMIN_KEY_HASH",
            expected="what `stillhouse keys first FILE` prints",
        )
    return KeyHash(found[1], found[2])
