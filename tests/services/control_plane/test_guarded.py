"""What the control plane's loops may count on when something that they care for fails."""

import asyncio
import logging

import pytest

from distill.contracts.errors import DependencyDown
from services.control_plane.guarded import guarded


async def the_dashboard_is_away() -> None:
    raise DependencyDown("Ray's dashboard doesn't answer")


async def a_bug() -> None:
    raise KeyError("a bug")


async def test_a_failed_dependency_is_one_line_and_a_bug_has_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert not await guarded("job a", the_dashboard_is_away)
        assert not await guarded("job b", a_bug)
    down, bug = caplog.records
    assert (down.getMessage(), down.exc_info) == ("job a was cut short: Ray's dashboard doesn't answer", None)
    assert bug.getMessage() == "job b failed"
    assert bug.exc_info is not None


@pytest.mark.filterwarnings("error")
async def test_what_is_cancelled_before_it_begins_leaves_no_coroutine_that_nobody_awaits() -> None:
    begun = []

    async def tend(job: str) -> None:
        begun.append(job)

    doing = asyncio.create_task(guarded("job a", tend, "a"))
    doing.cancel()
    await asyncio.wait([doing])
    assert doing.cancelled()
    assert begun == []
