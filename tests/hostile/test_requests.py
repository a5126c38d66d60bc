"""Hostile requests to a control plane behind a real socket: each gets one plain problem, and leaves nothing behind."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from distill.contracts import names
from distill.contracts.settings import NodeSettings
from services.control_plane.settings import Settings
from tests.hostile.calls import ADDRESSES, BODIES, HostileRequest
from tests.hostile.corpus import CANARY, evil, memory, reset_peak
from tests.hostile.house import AUTHORIZED, leave_a_job, served
from tests.services.control_plane.records import a_teacher

MOST_BYTES = 64 << 20
"""By which one request may let the process grow."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with traps in it."""
    root = tmp_path_factory.mktemp("house") / "data"
    root.mkdir()
    for name in ("evil.npz", "evil.safetensors"):
        (root / name).write_bytes(evil(root))
    os.mkfifo(root / "pipe.npz")
    for name, target in (
        ("zero.npz", "/dev/zero"),
        ("link.npz", "/etc/passwd"),
        ("linked", "/etc"),
        ("circle.npz", "circle.npz"),
    ):
        (root / name).symlink_to(target)
    return root


@pytest.fixture(scope="module")
def house(own_redis_url: str, root: Path) -> Iterator[httpx.Client]:
    """A client of a control plane with the teacher ``wise`` and the finished job ``left``."""
    with Redis.from_url(own_redis_url) as redis:
        redis.flushall()
    node = NodeSettings(redis_url=own_redis_url, storage=root.parent, data_root=root, cache=root.parent / "cache")
    settings = Settings(node=node, ray_dashboard="http://127.0.0.1:9", port=0)
    with served(settings) as url, httpx.Client(base_url=url, timeout=30, headers=AUTHORIZED) as client:
        asyncio.run(leave_a_job(node, a_teacher()))
        yield client


@pytest.mark.parametrize("asked", [*BODIES, *ADDRESSES], ids=lambda asked: asked.what)
def test_nobody_takes(house: httpx.Client, root: Path, asked: HostileRequest):
    before = reset_peak()
    headers = {name.encode(): value.encode("latin-1") for name, value in asked.headers.items()}
    answer = house.request(asked.method, asked.path, content=asked.content, headers=headers)
    assert answer.headers["content-type"] == "application/problem+json", answer.text[:300]
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (asked.status, asked.code), problem
    assert len(answer.content) < 64 << 10
    assert "set-cookie" not in answer.headers
    assert not (root.parent / CANARY).exists()
    assert memory("VmHWM") - before < MOST_BYTES


def test_nothing_was_left_behind(house: httpx.Client, own_redis_url: str):
    with Redis.from_url(own_redis_url, decode_responses=True) as redis:
        assert redis.zrange(names.index_key("job"), 0, -1) == ["left"]
        assert redis.zrange(names.index_key("teacher"), 0, -1) == ["wise"]
        assert not redis.zcard(names.index_key("study"))
        assert not redis.zcard(names.RESERVATIONS_KEY)
    assert [version["version"] for version in house.get("/v1/teachers/wise").json()["versions"]] == [1]


def test_no_case_is_told_twice():
    told = [asked.what for asked in (*BODIES, *ADDRESSES)]
    assert len(set(told)) == len(told)
