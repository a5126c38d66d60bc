"""The table of how long cancelled jobs take."""

import pytest

from benchmarks.cancel import Cancelled, percentile, table
from distill.contracts.records import JobState


@pytest.mark.parametrize(("share", "found"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_the_least_time_that_such_a_share_does_not_exceed(share: float, found: int):
    assert percentile([float(time) for time in range(100, 0, -1)], share) == found


def test_jobs_that_waited_in_the_queue_are_not_counted_among_those_with_processes():
    rows = table([Cancelled(JobState.QUEUED, 0.1, 0.1), Cancelled(JobState.RUNNING, 2.0, 3.0)]).splitlines()
    assert rows[2] == "| CANCELLED | 2 | 0.10 s | 2.00 s | 2.00 s |"
    assert rows[3] == "| and no process left | 2 | 0.10 s | 3.00 s | 3.00 s |"
    assert rows[4] == "| of those that had an attempt | 1 | 3.00 s | 3.00 s | 3.00 s |"
