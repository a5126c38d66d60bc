"""What a person reads of a record."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from distill.contracts.base import now
from distill.contracts.facts import TeacherAwaited, TeacherReturned
from distill.contracts.notify import Delivery, NotifySpec
from distill.contracts.records import JobState
from distill.contracts.teachers import TeacherResources
from services.cli.cards import job_card, version_lines
from tests.services.client.stub_house import SPEC, a_job
from tests.services.control_plane.records import MANIFEST, NOON, a_running_job, a_version, after, said

WITH_HOOK = SPEC.model_copy(update={"notify": NotifySpec(url="https://hooks.example.com/stillhouse")})


def test_a_job_that_waits_for_a_teacher_says_for_which_why_and_since_when():
    two_minutes_ago = now() - timedelta(minutes=2)
    awaited = TeacherAwaited(attempt=1, teacher="wise@1", text="no replica is running", at=two_minutes_ago)
    waiting = after(a_running_job(), said(awaited, 4))
    first, second, *_ = job_card(waiting)
    assert first.endswith("RUNNING: waiting for teacher wise@1: no replica is running")
    assert second == "  waits      since 2 min ago (limits.teacher_wait_s: 60 min 00 s)"
    back = after(waiting, said(TeacherReturned(attempt=1, teacher="wise@1", at=NOON), 5))
    assert not any(line.startswith("  waits") for line in job_card(back))


LAST = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (None, "hooks.example.com was not told yet, or a month ago"),
        (
            {"state": "delivered", "tries": 2, "last_try_at": now() - timedelta(hours=3)},
            "hooks.example.com was told 3 h ago, at try 2",
        ),
        (
            {"state": "waiting", "tries": 1, "problem": "it answered 503", "next_try_at": LAST},
            "hooks.example.com could not be told at try 1 (again at 2026-01-01 12:00 UTC): it answered 503",
        ),
        (
            {"state": "given_up", "tries": 8, "problem": "it answered 410"},
            "hooks.example.com could not be told at try 8 (not tried again): it answered 410",
        ),
    ],
)
def test_whether_somebody_was_told_of_its_end_is_said(told: dict[str, Any] | None, line: str):
    went = told and Delivery(**({"id": "m", "host": "hooks.example.com", "last_try_at": LAST} | told))
    assert f"  webhook    {line}" in job_card(a_job("j", state=JobState.FAILED, spec=WITH_HOOK), went)


def test_before_its_end_it_is_said_who_will_be_told_and_nothing_where_nobody_is():
    (line,) = [line for line in job_card(a_job("j", spec=WITH_HOOK)) if "webhook" in line]
    assert line == "  webhook    hooks.example.com will be told of the end"
    assert not [line for line in job_card(a_job("j")) if "webhook" in line]


def test_a_version_names_the_modules_that_terms_on_features_may_name():
    lines = list(version_lines(a_version()))
    assert "    member 0 has the modules stages.0 (16)" in lines
    assert sum("has the modules" in line for line in lines) == 3


def test_members_that_are_one_network_are_warned_of():
    first, second, third = MANIFEST.members
    same = MANIFEST.model_copy(update={"members": (first, second, third, first, first)})
    (line,) = [line for line in version_lines(a_version(manifest=same)) if "WARNING" in line]
    assert line.startswith("    WARNING: members 0, 3, 4 are one network, with equal weights")
    assert not any("WARNING" in line for line in version_lines(a_version()))


@pytest.mark.parametrize(
    ("resources", "line"),
    [
        ({}, "1 replica, of 0.5 CPUs each"),
        ({"replicas": 2, "num_gpus": 1}, "2 replicas, of 0.5 CPUs and 1 GPUs each"),
        ({"max_replicas": 4}, "1 to 4 replicas, as demand asks for them, of 0.5 CPUs each"),
    ],
)
def test_a_version_says_how_many_replicas_there_may_be_and_what_each_takes(resources: dict[str, int], line: str):
    assert f"    {line}" in version_lines(a_version(resources=TeacherResources(**resources)))


def test_of_many_modules_the_outermost_are_shown():
    taps = {f"blocks.{place}": (4, 8) for place in range(20)} | {"blocks.0.attention.query": (4, 8)}
    member = MANIFEST.members[0].model_copy(update={"taps": taps})
    (line,) = [
        line
        for line in version_lines(a_version(manifest=MANIFEST.model_copy(update={"members": (member,)})))
        if "modules" in line
    ]
    assert "blocks.0 (4, 8), blocks.1 (4, 8)" in line
    assert "query" not in line
    assert line.endswith("and 9 more (--json tells them all)")
