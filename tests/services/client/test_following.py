"""Following events: complete, in order, and each once, whatever the connection does."""

from itertools import pairwise

import pytest

from distill.contracts.errors import DependencyDown, TooManyStreams
from distill.contracts.events import Event, Gap, ProgressEvent, Snapshot
from distill.contracts.records import JobState
from services.client import End, StillhouseClient
from services.client import following as module
from tests.services.client.stub_house import House, Sent, a_job


def test_a_follower_sees_events_figures_and_the_end(asking: StillhouseClient):
    seen = list(asking.follow("job", "digits-abc123"))
    assert [type(one.data) for one in seen] == [Event, Event, ProgressEvent, Event, End]
    assert seen[-1].data == End(state=JobState.SUCCEEDED)


def test_a_broken_connection_is_taken_up_where_it_broke(house: House, asking: StillhouseClient):
    house.breaks = [1, 2]
    seen = [one.id for one in asking.follow("study", "any") if one.id]
    assert seen == ["1-0", "2-0", "3-0"]
    assert [headers.get("last-event-id") for _, _, headers in house.asked] == [None, "1-0", "2-0"]


def test_a_follower_may_begin_after_an_event(asking: StillhouseClient):
    assert next(asking.follow("job", "digits-abc123", after="2-0")).name == "progress"


def test_a_follower_gives_up_when_the_stream_never_gets_anywhere(house: House, asking: StillhouseClient):
    house.breaks = [0] * 50
    with pytest.raises(DependencyDown, match="before their end"):
        list(asking.follow("job", "digits-abc123", give_up_s=0.0))


def test_pauses_between_tries_grow():
    assert all(before < after for before, after in pairwise(module.PAUSES_S))


def a_snapshot(*, after: str, state: JobState) -> Sent:
    snapshot = Snapshot(after=after, jobs={"student": a_job(state=state)})
    return after, "snapshot", snapshot.model_dump(mode="json")


def test_a_gap_and_a_snapshot_are_read_and_taken_up_from(house: House, asking: StillhouseClient):
    gap = (None, "gap", Gap(after="0-0", oldest="7-0").model_dump(mode="json"))
    house.sent = [gap, a_snapshot(after="9-0", state=JobState.RUNNING), (None, "end", {"state": "SUCCEEDED"})]
    house.breaks = [2]
    seen = list(asking.follow("job", "digits-abc123"))
    assert [(one.name, one.id) for one in seen] == [("gap", None), ("snapshot", "9-0"), ("gap", None), ("end", None)]
    assert seen[1].data == Snapshot(after="9-0", jobs={"student": a_job(state=JobState.RUNNING)})
    assert [headers.get("last-event-id") for _, _, headers in house.asked] == [None, "9-0"]


def test_a_follower_waits_for_a_place(house: House, asking: StillhouseClient):
    house.full = 2
    assert isinstance(list(asking.follow("job", "digits-abc123"))[-1].data, End)
    assert len(house.asked) == 3


def test_a_follower_that_finds_no_place_in_time_says_so(house: House, asking: StillhouseClient):
    house.full = 1000
    with pytest.raises(TooManyStreams, match="no place"):
        list(asking.follow("job", "digits-abc123", give_up_s=0.0))
