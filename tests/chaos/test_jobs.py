"""Two minutes of chaos around the control plane; ``python -m tests.chaos.jobs`` takes as many as you like."""

from pathlib import Path

import pytest

from tests.chaos.jobs.checks import broken
from tests.chaos.jobs.plan import KINDS
from tests.chaos.jobs.run import rage
from tests.chaos.jobs.summary import summary


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_two_minutes_of_troubles_break_no_invariant(tmp_path: Path):
    outcome = await rage(tmp_path, seed=0, seconds=120, say=print)
    found = broken(outcome.evidence)
    assert not any(found.values()), summary(outcome, found)
    assert len(outcome.befell) >= len(KINDS) - 2, "hardly a kind of trouble met nobody"
    assert len(outcome.evidence.trails) > 50
