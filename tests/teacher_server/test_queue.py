"""Whose turn it is: a simulated device serves clients that ask again as soon as they are answered."""

import heapq
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teacher_server.queue import FairQueue, goes_now


class Client(NamedTuple):
    """Asks for windows of so many rows, so many at a time."""

    team: str
    rows: int
    at_once: int
    shape: str = "all members"
    job: str = ""
    members: int = 1


class Served(NamedTuple):
    """What a simulation found."""

    work: Counter[str]
    """Of each team."""
    fill: float
    """Mean of rows over the most that a batch takes, in all batches but the first."""
    longest_wait_s: dict[Client, float]

    def share(self, team: str) -> float:
        return self.work[team] / self.work.total()


def simulate(
    *clients: Client, max_rows: int, weights: Mapping[str, float] | None = None, seconds: float = 300.0
) -> Served:
    """A device that takes a tenth of a second a batch and a millisecond a row and member; callers need 10 ms to ask again."""
    queue: FairQueue[tuple[int, Client]] = FairQueue(weights)
    numbers, asked_at, left, waits = itertools.count(), {}, {}, dict.fromkeys(clients, 0.0)
    events: list[tuple[float, int, Client | list[tuple[tuple[int, Client], int, int]] | None]] = []
    work: Counter[str] = Counter()
    fills: list[float] = []
    on_device, free_at, due_at = 0, 0.0, 0.0
    for client in clients:
        for _ in range(client.at_once):
            heapq.heappush(events, (0.0, next(numbers), client))
    now = 0.0
    while now < seconds:
        now, _, event = heapq.heappop(events)
        if isinstance(event, Client):
            request = next(numbers), event
            asked_at[request], left[request] = now, event.rows
            queue.push(event.team, request, rows=event.rows, shape=event.shape, job=event.job, members=event.members)
        elif event is not None:
            on_device -= 1
            for request, start, stop in event:
                client = request[1]
                work[client.team] += (stop - start) * client.members
                left[request] -= stop - start
                if not left[request]:
                    waits[client] = max(waits[client], now - asked_at[request])
                    heapq.heappush(events, (now + 0.01, next(numbers), client))
        if events and events[0][0] == now:
            continue
        if goes_now(queue.ready_rows, on_device=on_device, is_due=now >= due_at):
            batch = queue.next_batch(max_rows)
            rows = sum(stop - start for _, start, stop in batch)
            takes_s = 0.1 + 0.001 * rows * batch[0][0][1].members
            free_at = max(now, free_at) + takes_s
            due_at = free_at - takes_s / 4
            on_device += 1
            fills.append(rows / max_rows)
            heapq.heappush(events, (due_at, next(numbers), None))
            heapq.heappush(events, (free_at, next(numbers), batch))
    return Served(work, sum(fills[1:]) / len(fills[1:]), waits)


@pytest.mark.parametrize("shape", ["all members", "another"])
@pytest.mark.parametrize(
    ("many", "few"),
    [
        (Client("many", 1024, 20), Client("few", 1024, 2)),
        (Client("many", 1024, 10), Client("few", 1024, 1)),
        (Client("many", 1024, 20), Client("few", 16, 200)),
        (Client("many", 16, 1280), Client("few", 1024, 2)),
        (Client("many", 100, 300), Client("few", 700, 3)),
    ],
)
def test_a_team_with_ten_times_the_windows_gets_no_more(many: Client, few: Client, shape: str):
    served = simulate(many, few._replace(shape=shape), max_rows=1024)
    assert 0.45 <= served.share("few") <= 0.55


@pytest.mark.parametrize("shape", ["all members", "another"])
@pytest.mark.parametrize("heavy_rows", [16, 1024])
def test_a_team_of_twice_the_weight_gets_twice_as_much(heavy_rows: int, shape: str):
    light, heavy = Client("light", 1024, 20), Client("heavy", heavy_rows, 4096 // heavy_rows, shape)
    served = simulate(light, heavy, max_rows=1024, weights={"heavy": 2.0})
    assert served.work["heavy"] / served.work["light"] == pytest.approx(2.0, rel=0.1)


def test_a_row_is_paid_for_by_the_members_that_answer_it():
    one, three = Client("one", 64, 40, "one member"), Client("three", 64, 40, "three members", members=3)
    served = simulate(one, three, max_rows=256)
    assert served.share("one") == pytest.approx(0.5, abs=0.05)


def test_small_asks_of_many_students_fill_the_batches():
    students = [Client("vision", 16, 2, job=f"student-{number}") for number in range(8)]
    assert simulate(*students, max_rows=64).fill >= 0.8


def test_a_lone_student_never_waits_for_company():
    served = simulate(lone := Client("vision", 16, 1), max_rows=1024)
    assert served.longest_wait_s[lone] == pytest.approx(0.116)


def test_a_small_ask_waits_for_a_batch_or_two_whatever_others_have_in_the_queue():
    small = Client("few", 16, 1)
    crowd = [Client("many", 1024, 30, job=f"job-{number}") for number in range(3)]
    served = simulate(small, *crowd, max_rows=1024)
    # the batch on the device, the one that follows it, and the one that it is part of
    assert served.longest_wait_s[small] < 3 * 1.2


def test_a_job_is_not_behind_the_whole_backlog_of_another_one_of_its_team():
    small = Client("vision", 16, 1, job="small")
    served = simulate(small, Client("vision", 1024, 30, job="large"), max_rows=1024)
    assert served.longest_wait_s[small] < 4 * 1.2


def test_jobs_of_a_team_share_what_it_gets():
    queue: FairQueue[str] = FairQueue()
    for number in range(3):
        queue.push("vision", f"large-{number}", rows=100, shape="", job="large")
    for number in range(20):
        queue.push("vision", f"small-{number}", rows=10, shape="", job="small")
    assert rows_of(queue.next_batch(200), "large") == 100


def test_a_team_that_was_away_has_saved_nothing_up():
    queue: FairQueue[str] = FairQueue()
    for number in range(100):
        queue.push("busy", f"busy-{number}", rows=100, shape="")
    queue.push("back", "back-0", rows=10, shape="")
    for _ in range(50):
        queue.next_batch(100)
    for number in range(100):
        queue.push("back", f"back-{number + 1}", rows=100, shape="")
    both = [part for _ in range(20) for part in queue.next_batch(100)]
    assert rows_of(both, "back") == pytest.approx(1000, abs=100)


def test_weights_count_from_when_they_change():
    queue: FairQueue[str] = FairQueue()
    for team in ("a", "b"):
        queue.push(team, team, rows=10_000, shape="")
    assert rows_of(queue.next_batch(1000), "a") == pytest.approx(500, abs=16)
    queue.weights = {"a": 3.0}
    assert rows_of(queue.next_batch(1000), "a") == pytest.approx(750, abs=48)


def test_a_batch_is_of_one_shape_and_large_requests_come_in_slices():
    queue: FairQueue[str] = FairQueue()
    queue.push("vision", "large", rows=150, shape="x", job="1")
    queue.push("vision", "other", rows=30, shape="y", job="2")
    queue.push("vision", "small", rows=20, shape="x", job="3")
    assert queue.rows == 200
    assert queue.ready_rows == 170
    assert queue.next_batch(100) == [("large", 0, 100)]
    assert queue.next_batch(100) == [("large", 100, 150), ("small", 0, 20)]
    assert queue.next_batch(100) == [("other", 0, 30)]
    assert queue.next_batch(100) == []
    assert queue.ready_rows == queue.rows == len(queue) == 0


def test_who_is_removed_is_never_served_and_who_is_gone_cannot_be_removed():
    queue: FairQueue[str] = FairQueue()
    for request in ("first", "second", "third"):
        queue.push("vision", request, rows=10, shape="")
    assert queue.next_batch(5) == [("first", 0, 5)]
    assert queue.remove("first")
    assert queue.remove("second")
    assert not queue.remove("second")
    assert queue.rows == 10
    assert queue.next_batch(100) == [("third", 0, 10)]
    assert not queue.remove("third")


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.integers(1, 200), st.sampled_from("xy"), st.sampled_from("12"), st.integers(1, 3)
    ),
    min_size=1,
    max_size=40,
)


@given(requests=REQUESTS, max_rows=st.integers(1, 300), removed=st.sets(st.integers(0, 39)))
def test_every_row_leaves_once_and_in_order(
    requests: Sequence[tuple[str, int, str, str, int]], max_rows: int, removed: set[int]
):
    queue: FairQueue[int] = FairQueue({"a": 2.5, "b": 0.1})
    for number, (team, rows, shape, job, members) in enumerate(requests):
        queue.push(team, number, rows=rows, shape=shape, job=job, members=members)
    for number in removed:
        assert queue.remove(number) == (number < len(requests))
    left: Counter[int] = Counter()
    while batch := queue.next_batch(max_rows):
        assert len({requests[number][2] for number, _, _ in batch}) == 1
        assert 0 < sum(stop - start for _, start, stop in batch) <= max_rows
        for number, start, stop in batch:
            assert start == left[number]
            left[number] = stop
    assert left == {number: rows for number, (_, rows, *_) in enumerate(requests) if number not in removed}
    assert queue.rows == 0


def test_an_idle_device_takes_what_there_is_and_a_busy_one_when_it_is_due():
    assert goes_now(1, on_device=0, is_due=False)
    assert not goes_now(1, on_device=1, is_due=False)
    assert goes_now(1, on_device=1, is_due=True)
    assert not goes_now(1, on_device=2, is_due=True)
    assert not goes_now(0, on_device=0, is_due=True)


def rows_of(batch: Sequence[tuple[str, int, int]], prefix: str) -> int:
    return sum(stop - start for request, start, stop in batch if request.startswith(prefix))
