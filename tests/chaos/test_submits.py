"""Submits while the control plane is killed; ``python -m tests.chaos.submits`` makes 10,000."""

import json
from pathlib import Path

import pytest
from redis import Redis

from tests.chaos.submits import Outcome, submit_all


def all_once(outcome: Outcome, count: int) -> bool:
    """Whether each of so many submits was answered, and is one job."""
    each_is_one = (outcome.lost, outcome.doubled, outcome.otherwise) == (0, 0, 0)
    return each_is_one and len(outcome.answered) == outcome.stored.total() == count


@pytest.mark.long
@pytest.mark.timeout(120)
def test_submits_from_eight_threads_are_each_one_job(redis: Redis, own_redis_url: str, tmp_path: Path):
    redis.flushall()

    def forget_markers() -> None:  # of the dead, as their time to live does half a minute later
        for key in map(str, redis.scan_iter("stillhouse:answer:*")):
            if json.loads(str(redis.get(key)))["status"] is None:
                redis.delete(key)

    outcome = submit_all(own_redis_url, tmp_path, num_submits=30, seed=0, longest_life_s=0.1, after_kill=forget_markers)
    assert all_once(outcome, 30), outcome
    assert outcome.kills >= 1
    assert outcome.troubles.total() > 0


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_hundred_submits_from_eight_threads_are_each_one_job(redis: Redis, own_redis_url: str, tmp_path: Path):
    redis.flushall()
    outcome = submit_all(own_redis_url, tmp_path, num_submits=200, seed=0)
    assert all_once(outcome, 200), outcome
    assert outcome.kills >= 2
    assert outcome.troubles["cut in the middle"] > 0
