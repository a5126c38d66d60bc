"""A real Redis as a child: its files outlive it, and nobody else can read them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from distill.contracts.errors import DependencyDown
from services.stack import redis_server
from services.stack.home import RedisState, StackHome, StackState
from services.stack.processes import Child, ProcessId, free_ports
from services.stack.settings import StackSettings
from services.stack.stack import Stack

ENVIRONMENT: dict[str, str] = {}


@pytest.fixture
def home(tmp_path: Path) -> StackHome:
    home = StackHome(tmp_path / "home with a space")
    home.make()
    return home


@pytest.fixture
def redis(home: StackHome) -> Iterator[tuple[Child, RedisState]]:
    child, state = redis_server.start_redis(home, environment=ENVIRONMENT, last=None)
    yield child, state
    child.stop(10.0)


def test_what_was_answered_outlives_a_kill_on_the_same_port(home: StackHome, redis: tuple[Child, RedisState]):
    child, state = redis
    with Redis.from_url(state.url) as client:
        client.set("fact", "applied")
    child.kill()
    again, after = redis_server.start_redis(home, environment=ENVIRONMENT, last=state)
    with Redis.from_url(state.url) as client:
        assert client.get("fact") == b"applied"
    again.stop(10.0)
    assert after.url == state.url


def test_it_confirms_only_what_is_on_the_disk_and_evicts_nothing(redis: tuple[Child, RedisState]):
    with Redis.from_url(redis[1].url) as client:
        found = client.config_get("appendonly", "appendfsync", "maxmemory-policy", "bind")
    assert found == {
        "appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "bind": "127.0.0.1",
    }  # fmt: skip


@pytest.mark.parametrize(("file", "url"), [("password", "url"), ("door-password", "door_url")])
def test_its_passwords_are_for_the_owner_alone(home: StackHome, redis: tuple[Child, RedisState], file: str, url: str):
    password, address = (home.redis / file).read_text(), getattr(redis[1], url)
    assert password not in " ".join(ProcessId.of(redis[0].pid).find().cmdline())
    assert {path.stat().st_mode & 0o077 for path in (home.redis / file, home.redis / "redis.conf")} == {0}
    assert redis_server.answers(address)
    assert not redis_server.answers(address.replace(password, "guess"))


def test_a_server_of_a_version_that_knew_no_user_for_the_door_is_started_anew(
    home: StackHome, redis: tuple[Child, RedisState]
):
    child, state = redis
    stack = Stack(StackSettings(home=home.folder))
    stack._state = StackState(mark="m", redis=state)
    assert stack._adopt_redis().pid == child.pid
    stack._state = StackState(mark="m", redis=state.model_copy(update={"door_url": None}))
    assert stack._adopt_redis() is None
    assert not child.is_alive()


def test_of_a_given_redis_the_doors_user_is_tried_too_and_how_to_make_it_is_told(redis: tuple[Child, RedisState]):
    _, state = redis
    assert redis_server.given_redis(state.url, state.door_url) == RedisState(url=state.url, door_url=state.door_url)
    with pytest.raises(DependencyDown, match="doesn't let the door in") as caught:
        redis_server.given_redis(state.url, state.door_url.replace("//door:", "//hall:"))
    assert "ACL SETUSER door reset on >PASSWORD ~stillhouse:key:*" in caught.value.details["hint"]
    assert state.door_url.partition("door:")[2].partition("@")[0] not in str(caught.value)


def test_a_given_redis_that_does_not_answer_is_named_without_its_password():
    with pytest.raises(DependencyDown) as caught:
        redis_server.given_redis(f"redis://:secret@127.0.0.1:{free_ports(1)[0]}/0")
    assert "secret" not in str(caught.value)


def test_a_server_that_cannot_start_is_told_with_its_log(home: StackHome, monkeypatch: pytest.MonkeyPatch):
    (home.redis / "appendonlydir").write_text("a file where a folder must be")
    with pytest.raises(DependencyDown, match="Redis ended while starting"):
        redis_server.start_redis(home, environment=ENVIRONMENT, last=None)


def test_a_pid_that_another_process_has_now_is_not_ours():
    mine = ProcessId.of(os.getpid())
    assert mine.find() is not None
    assert mine.model_copy(update={"create_time": mine.create_time - 100}).find() is None


def test_a_child_that_ends_in_peace_is_not_killed(redis: tuple[Child, RedisState]):
    child, _ = redis
    os.kill(child.pid, signal.SIGTERM)
    assert child.stop(10.0)
    assert not child.is_alive()
