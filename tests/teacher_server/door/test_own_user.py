"""The door at a real Redis, as a user of its own: it looks up keys and reservations, and may do nothing else."""

from collections.abc import AsyncIterator

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import NoPermissionError

from distill.contracts import names
from distill.contracts.errors import NotAuthenticated
from distill.contracts.keys import id_of_key, new_key, new_key_id
from distill.journal.client import open_to_look_up
from distill.journal.keys import KnownKeys
from services.stack.home import RedisState
from teacher_server.door.reservations import Reservations
from tests.teacher_server.door.doors import KEY, a_key, a_reservation

KEY_KEY = names.key_key(id_of_key(KEY))


@pytest.fixture
async def seen_by_the_door(own_redis: RedisState) -> AsyncIterator[AsyncRedis]:
    async with open_to_look_up(own_redis.door_url) as client:
        yield client


@pytest.fixture
def key(redis: Redis) -> str:
    redis.set(KEY_KEY, a_key().model_dump_json(), ex=60)
    redis.set(names.reservation_key("r-1"), a_reservation().model_dump_json(), ex=60)
    redis.acl_log_reset()
    return KEY


async def test_it_finds_a_key_and_a_reservation_and_oversteps_nothing(
    redis: Redis, seen_by_the_door: AsyncRedis, key: str
):
    assert (await KnownKeys(seen_by_the_door).check(key)).team == "vision"
    assert (await Reservations(seen_by_the_door).find("r-1", team="vision")).id == "r-1"
    with pytest.raises(NotAuthenticated, match="not known"):
        await KnownKeys(seen_by_the_door).check(new_key(new_key_id()))
    assert redis.acl_log() == []


@pytest.mark.parametrize(
    "command",
    [
        ("SET", KEY_KEY, "{}"),
        ("GETDEL", KEY_KEY),
        ("EXPIRE", KEY_KEY, 1),
        ("DEL", names.reservation_key("r-1")),
        ("GET", names.record_key("job", "j-1")),
        ("GET", names.answer_key("vision", "d")),
        ("HGETALL", names.TEAMS_KEY),
        ("ZRANGE", names.KEYS_KEY, 0, -1),
        ("XADD", names.inbox_key("job", "j-1"), "*", "fact", "{}"),
        ("XRANGE", names.events_key("job", "j-1"), "-", "+"),
        ("EVAL", "return redis.call('GET', KEYS[1])", 1, KEY_KEY),
        ("SCAN", 0),
        ("FLUSHALL",),
        ("CONFIG", "GET", "requirepass"),
        ("ACL", "LIST"),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("SUBSCRIBE", "anything"),
    ],
    ids=lambda command: command[0],
)
async def test_it_is_refused_whatever_else_it_wants(
    redis: Redis, seen_by_the_door: AsyncRedis, key: str, command: tuple[str | int, ...]
):
    before = redis.get(KEY_KEY)
    with pytest.raises(NoPermissionError):
        await seen_by_the_door.execute_command(*command)
    assert (redis.get(KEY_KEY), id_of_key(key) in before) == (before, True)
