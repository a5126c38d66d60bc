"""What replicas leave in Redis, with a real one."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from redis import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.pool import ReplicaLoad, TeacherUsage
from distill.journal.client import open_redis
from distill.journal.pool import add_usage, read_weights, remove_load, write_load

NOON = now()


@pytest.fixture
def redis(own_redis_url: str) -> Iterator[Redis]:
    with open_redis(own_redis_url) as client:
        client.flushdb()
        yield client


def a_load(replica: str, at: datetime = NOON) -> ReplicaLoad:
    return ReplicaLoad(replica=replica, queued_rows=3, rows_per_s=100.0, busy=0.5, at=at)


def test_each_replica_has_one_entry_its_newest(redis):
    for replica in ("a", "b", "a"):
        write_load(redis, "teacher-wise-1", a_load(replica))
    entries = redis.hgetall(names.load_key("teacher-wise-1"))
    assert {name: ReplicaLoad.model_validate_json(text) for name, text in entries.items()} == {
        "a": a_load("a"),
        "b": a_load("b"),
    }


def test_loads_expire_when_no_replica_says_anything_any_more(redis):
    write_load(redis, "teacher-wise-1", a_load("a"))
    assert redis.ttl(names.load_key("teacher-wise-1")) == 10


def test_a_replica_that_ends_takes_its_load_back_and_one_that_died_is_forgotten_by_the_others(redis):
    write_load(redis, "teacher-wise-1", a_load("ended"))
    write_load(redis, "teacher-wise-1", a_load("died"))
    remove_load(redis, "teacher-wise-1", "ended")
    write_load(redis, "teacher-wise-1", a_load("lives", NOON + timedelta(seconds=50)))
    assert set(redis.hkeys(names.load_key("teacher-wise-1"))) == {"died", "lives"}
    write_load(redis, "teacher-wise-1", a_load("lives", NOON + timedelta(seconds=61)))
    assert set(redis.hkeys(names.load_key("teacher-wise-1"))) == {"lives"}


def test_what_is_no_weight_is_passed_over(redis):
    redis.hset(names.TEAM_WEIGHTS_KEY, mapping={"a": "2", "b": "0", "c": "-1", "d": "nan", "e": "much", "f": "inf"})
    assert read_weights(redis) == {"a": 2.0}


def test_an_addition_that_is_repeated_counts_once(redis):
    had = TeacherUsage(teacher="wise@1", rows_computed=10, device_seconds=0.5)
    for number in (1, 1, 2, 1):
        add_usage(redis, {("vision", "2026-11"): had}, writer="a", number=number)
    assert redis.hgetall(names.usage_key("vision", "2026-11")) == {
        "wise@1|rows_computed": "20",
        "wise@1|device_seconds": "1",
    }
