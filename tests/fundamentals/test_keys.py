"""The API key of the stack opens it, and is nowhere but in the file that its owner alone may read."""

import stat
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from redis import Redis

from distill.contracts.errors import NotAuthenticated
from distill.contracts.records import JobRecord
from distill.journal.client import open_redis
from services.client.client import StillhouseClient
from services.stack.stack import Stack
from tests.fundamentals.jobs import shown
from tests.fundamentals.processes import ask_ray


def test_without_it_nothing_is_answered_and_with_it_all(stack: Stack, unbroken: JobRecord):
    job = f"{stack.url}/v1/jobs/{unbroken.id}"
    assert httpx.get(job).status_code == 401
    assert httpx.get(job, headers=shown(stack.key)).json()["id"] == unbroken.id
    with StillhouseClient(stack.url) as nobody, pytest.raises(NotAuthenticated, match="no API key"):
        nobody.job(unbroken.id)


def test_its_file_is_its_owners_alone(stack: Stack):
    assert stat.S_IMODE(stack.home.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(stack.home.folder.stat().st_mode) == 0o700


@pytest.mark.usefixtures("unbroken")
def test_no_process_of_the_stack_has_it_in_its_environment_or_arguments(stack: Stack):
    ours = []
    for process in psutil.process_iter():
        try:
            told = [*process.environ().values(), *process.cmdline()]
        except psutil.Error:
            continue
        if stack.state.mark in told:
            ours.append(process.pid)
            assert not [text for text in told if secret(stack) in text], process.pid
    assert len(ours) > 3


@pytest.mark.usefixtures("unbroken")
def test_neither_ray_nor_redis_nor_a_file_of_the_stack_holds_it(stack: Stack):
    ray = [ask_ray(stack, path) for path in ("/api/jobs/", "/api/v0/actors?limit=1000", "/api/serve/applications/")]
    assert secret(stack) not in str(ray)
    with open_redis(stack.redis_url) as redis:
        assert secret(stack) not in str(everything(redis))
    files = [path for path in stack.home.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    holding = [path.name for path in files if secret(stack).encode() in path.read_bytes()]
    assert holding == ["admin-key"]


@pytest.mark.usefixtures("unbroken")
def test_redis_passwords_are_told_in_no_argument_by_no_ray_and_in_no_log(stack: Stack):
    secrets = [urlsplit(url).password for url in (stack.redis_url, stack.node.door_redis_url)]
    assert len(set(secrets)) == 2
    arguments = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    ray = [ask_ray(stack, path) for path in ("/api/jobs/", "/api/v0/actors?limit=1000", "/api/serve/applications/")]
    logs = [path for folder in (stack.home.logs, stack.state.ray.folder) for path in folder.rglob("*.log")]
    told = [str(arguments), str(ray), *(path.read_text(errors="replace") for path in logs)]
    assert len(logs) > 3
    assert not [text[:200] for text in told for one in secrets if one in text]


def secret(stack: Stack) -> str:
    """The 160 bits of it."""
    return stack.key.split("_")[2][:40]


def everything(redis: Redis) -> list[Any]:
    """Every value, whatever its type."""
    readers: dict[str, Any] = {
        "string": redis.get, "hash": redis.hgetall, "set": redis.smembers, "stream": redis.xrange,
        "zset": lambda key: redis.zrange(key, 0, -1), "list": lambda key: redis.lrange(key, 0, -1),
    }  # fmt: skip
    return [readers[str(redis.type(key))](key) for key in redis.scan_iter()]
