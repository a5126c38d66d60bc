"""A short storm over the run's own stack; ``python -m tests.chaos`` lets one rage for as long as you like."""

import pytest

from services.client.client import StillhouseClient
from services.stack.stack import Stack
from tests.chaos.storm import rage
from tests.chaos.teacher import publish
from tests.chaos.victims import KINDS


@pytest.mark.long
@pytest.mark.timeout(900)
def test_jobs_end_as_if_nothing_had_been_killed(stack: Stack, client: StillhouseClient):
    said: list[str] = []
    log = rage(stack, publish(client), seconds=60, seed=0, say=said.append, kinds=1)
    story = "\n".join(said)
    assert set(log.kills) == set(KINDS), story
    assert log.disturbed, story
    assert not log.lost, story
    assert not log.changed, story
