"""Submits while the control plane is killed; ``python -m tests.chaos.submits`` makes 10,000."""

from pathlib import Path

import pytest
from redis import Redis

from tests.chaos.submits import submit_all


@pytest.mark.timeout(300)
def test_two_hundred_submits_from_eight_threads_are_each_one_job(redis: Redis, own_redis_url: str, tmp_path: Path):
    redis.flushall()
    outcome = submit_all(own_redis_url, tmp_path, num_submits=200, seed=0)
    assert len(outcome.answered) == 200
    assert outcome.kills >= 2
    assert outcome.troubles["cut in the middle"] > 0
    assert (outcome.lost, outcome.doubled, outcome.otherwise) == (0, 0, 0)
    assert outcome.stored.total() == 200
