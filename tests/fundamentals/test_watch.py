"""Whoever watches a job sees all that happens to it, in order, and can leave and come back without missing anything."""

from contextlib import closing

import httpx
import pytest

from distill.contracts.records import JobRecord
from services.client.client import StillhouseClient
from services.client.following import End, Followed
from services.stack.stack import Stack
from tests.fundamentals.jobs import EPOCHS, shown


@pytest.fixture
def seen(client: StillhouseClient, unbroken: JobRecord) -> list[Followed]:
    return list(client.follow("job", unbroken.id))


def test_the_events_tell_the_whole_life_of_the_job(seen: list[Followed]):
    life = [sent.data.fact.phase if sent.name == "phase_reached" else sent.name for sent in seen]
    stations = [word for word in life if word not in {"epoch_ended", "checkpoint_saved", "queue_reason"}]
    assert stations == [
        "job_created",
        "attempt_claimed",
        "attempt_launched",
        "started",
        "checked",
        "attempt_checked",
        "workers_ready",
        "training",
        "trained",
        "evaluated",
        "exported",
        "attempt_ended",
        "end",
    ]
    assert life.count("epoch_ended") == life.count("checkpoint_saved") == EPOCHS


def test_ids_and_revisions_rise_and_only_the_end_has_none(seen: list[Followed]):
    *events, end = seen
    moments = [tuple(int(part) for part in sent.id.split("-")) for sent in events]
    assert moments == sorted(set(moments))
    assert [sent.data.revision for sent in events] == list(range(len(events)))
    assert end.id is None


def test_the_stream_ends_with_the_state_that_the_job_is_in(seen: list[Followed], unbroken: JobRecord):
    assert seen[-1].data == End(state=unbroken.state)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_who_comes_back_is_told_just_what_came_after(
    client: StillhouseClient, unbroken: JobRecord, seen: list[Followed], share: float
):
    *events, end = seen
    place = int(share * (len(events) - 1))
    assert list(client.follow("job", unbroken.id, after=events[place].id)) == [*events[place + 1 :], end]


def test_who_leaves_in_the_middle_goes_on_from_there(
    client: StillhouseClient, unbroken: JobRecord, seen: list[Followed]
):
    with closing(client.follow("job", unbroken.id)) as first_look:
        before = [next(first_look) for _ in range(5)]
    after = client.follow("job", unbroken.id, after=before[-1].id)
    assert [*before, *after] == seen


def test_any_program_that_knows_server_sent_events_can_watch(stack: Stack, unbroken: JobRecord):
    answer = httpx.get(f"{stack.url}/v1/jobs/{unbroken.id}/events", headers=shown(stack.key))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.count("event: epoch_ended\n") == EPOCHS
    assert answer.text.count("event: end\n") == 1
