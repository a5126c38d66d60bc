"""Which replica a window goes to: the policy as a pure function, and once for real."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import ray
from ray import serve
from ray.exceptions import ActorDiedError
from ray.serve._private.common import DeploymentHandleSource, DeploymentID, RequestMetadata
from ray.serve.config import RequestRouterConfig
from ray.serve.handle import DeploymentHandle, DeploymentResponse
from ray.serve.request_router import PendingRequest, ReplicaID

from teacher_server.coming import Coming, Left
from teacher_server.routing import MAX_ASKED, MAX_TRIES, ROUTER, STALE_S, Known, LeastLoaded, Question, choosing

NOON = 1000.0
LATELY, LONG_AGO = NOON - STALE_S / 2, NOON - 2 * STALE_S
S_PER_WORK = 0.001


def said(left_s: float, *, at: float = LONG_AGO, s_per_work: float | None = S_PER_WORK) -> Known:
    """What a replica says that waits for nothing but its device."""
    return Known(left_s, 0, s_per_work, at)


class Choice:
    """The choice of one window at noon, with every question answered as the test says."""

    def __init__(self, known: dict[str, Known], *replicas: str) -> None:
        self.known = known
        self.now = NOON
        self._choice = choosing(replicas, known, clock=lambda: self.now, draw=Random(0))
        self.asks: list[Question[str]] = next(self._choice)
        self.chosen: str | None = None

    def hear(self, *promised: str, **replies: float) -> None:
        """``replies`` are the seconds that each has left; who isn't among them is silent."""
        self.known.update({replica: said(left_s, at=self.now) for replica, left_s in replies.items()})
        try:
            self.asks = self._choice.send(promised)
        except StopIteration as ended:
            self.chosen = ended.value


def test_an_idle_replica_costs_one_question():
    choice = Choice({"a": said(0.3), "b": said(0.0), "c": said(0.2)}, "a", "b", "c")
    assert choice.asks == [Question("b", 0.0)]
    choice.hear("b", b=0.1)
    assert choice.chosen == "b"


def test_if_it_is_not_idle_the_others_are_asked_and_the_one_with_the_least_left_is_to_expect_the_window():
    choice = Choice({"a": said(0.3), "b": said(0.1), "c": said(0.2)}, "a", "b", "c")
    choice.hear(b=0.5)
    assert {question.replica for question in choice.asks} == {"a", "c"}
    assert {question.at_most_s for question in choice.asks} == {None}
    choice.hear(a=0.3, c=0.4)
    assert choice.asks == [Question("a", 0.4)]  # for as long as it is no worse than the next best
    choice.hear("a", a=0.4)
    assert choice.chosen == "a"


def test_of_one_that_was_heard_lately_nothing_is_asked_again():
    choice = Choice({"a": said(0.3, at=LATELY), "b": said(0.1), "c": said(0.2)}, "a", "b", "c")
    choice.hear(b=0.5)
    assert choice.asks == [Question("c", None)]


def test_where_another_caller_was_faster_the_next_best_is_asked():
    choice = Choice({"a": said(0.3), "b": said(0.1)}, "a", "b")
    choice.hear(b=0.1)
    choice.hear(a=0.3)
    assert choice.asks == [Question("b", 0.3)]
    choice.hear(b=0.5)
    assert choice.asks == [Question("a", 0.5)]
    choice.hear("a", a=0.4)
    assert choice.chosen == "a"


def test_where_others_are_always_faster_a_window_goes_where_least_is_left():
    choice = Choice({"a": said(0.1), "b": said(0.2)}, "a", "b")
    choice.hear(a=0.1)
    choice.hear(b=0.2)
    for left_s in range(MAX_TRIES):
        assert len(choice.asks) == 1
        assert choice.chosen is None
        choice.hear(**{choice.asks[0].replica: 1.0 + left_s})
    assert choice.chosen == "b"  # which has 2 s left, and a 3 s


def test_time_passes_for_a_replica_that_said_what_it_has_left():
    choice = Choice({"a": said(0.4, at=NOON - 0.3), "b": said(0.2, at=NOON)}, "a", "b")
    assert choice.asks == [Question("a", 0.0)]


def test_what_waits_counts_at_the_pace_of_the_device():
    slow = Known(busy_s=0.0, work=100, s_per_work=0.01, at=NOON)
    fast = Known(busy_s=0.1, work=300, s_per_work=0.001, at=NOON)
    assert Choice({"slow": slow, "fast": fast}, "slow", "fast").asks == [Question("fast", 0.0)]


def test_a_new_replica_is_asked_first_and_thought_as_fast_as_the_others():
    assert Choice({"a": said(0.1)}, "a", "new").asks == [Question("new", 0.0)]
    unknown = Known(busy_s=0.0, work=300, s_per_work=None, at=NOON)
    assert Choice({"a": said(0.4, at=NOON), "new": unknown}, "a", "new").asks == [Question("new", 0.0)]
    assert Choice({"a": said(0.2, at=NOON), "new": unknown}, "a", "new").asks == [Question("a", 0.0)]


def test_a_silent_replica_is_left_out_and_a_window_goes_somewhere_even_if_all_are_silent():
    choice = Choice({"a": said(0.3), "b": said(0.1), "c": said(0.2)}, "a", "b", "c")
    choice.hear()
    choice.hear(a=0.3)
    assert choice.asks == [Question("a", float("inf"))]
    choice.hear("a", a=0.4)
    assert choice.chosen == "a"

    choice = Choice({}, "a", "b")
    choice.hear()
    choice.hear()
    assert choice.chosen in ("a", "b")


def test_one_that_falls_silent_is_not_asked_for_ever():
    choice = Choice({"a": said(0.1), "b": said(0.2)}, "a", "b")
    choice.hear(a=0.1)
    choice.hear(b=0.2)
    assert choice.asks == [Question("a", 0.2)]
    choice.hear()
    assert choice.asks == [Question("b", float("inf"))]
    choice.hear("b", b=0.3)
    assert choice.chosen == "b"


def test_of_many_replicas_only_some_are_asked():
    choice = Choice({}, *(f"r{number}" for number in range(100)))
    choice.hear()
    assert len(choice.asks) == MAX_ASKED - 1


class FakeReplica:
    """Says what it has left to do and expects windows, as `Answering.expect` does; or fails, or says nothing."""

    def __init__(self, name: str, work: int = 0, *, fails: Exception | None = None, is_silent: bool = False) -> None:
        self.replica_id = ReplicaID(name, DEPLOYMENT)
        self.max_ongoing_requests = 256
        self.work = work
        self.asked = 0
        self._coming = Coming()
        self._fails = fails
        self._is_silent = is_silent

    def try_send_request(self, question: PendingRequest, *, with_rejection: bool) -> "FakeReplica":
        assert question.metadata.call_method == "expect"
        assert not with_rejection
        self.asked += 1
        self._question = question
        return self

    async def get_async(self) -> dict[str, Any]:
        if self._is_silent:
            await asyncio.Event().wait()
        if self._fails:
            raise self._fails
        header, at_most_s = self._question.args
        is_promised = at_most_s is not None and self._left().is_at_most(at_most_s)
        if is_promised:
            self._coming.promise(header["request_id"], header["num_rows"])
        return {**self._left()._asdict(), "num_windows": 0, "is_promised": is_promised}

    def _left(self) -> Left:
        return Left(0.0, self.work + self._coming.work, S_PER_WORK)


DEPLOYMENT = DeploymentID("Teacher", "teacher-any-1")


def new_router() -> LeastLoaded:
    """A caller's."""
    router = LeastLoaded(DEPLOYMENT, DeploymentHandleSource.UNKNOWN, use_replica_queue_len_cache=True)
    router.silent_s = 0.05
    return router


@pytest.fixture
async def router() -> LeastLoaded:
    return new_router()


def window(number: int = 0, *, method: str = "answer") -> PendingRequest:
    metadata = RequestMetadata(request_id=f"r{number}", internal_request_id=f"i{number}", call_method=method)
    return PendingRequest(args=[{"request_id": f"w{number}", "num_rows": 100}, {}], kwargs={}, metadata=metadata)


async def chosen(router: LeastLoaded, *replicas: FakeReplica, number: int = 0) -> FakeReplica:
    [[replica]] = await router.choose_replicas(list(replicas), window(number))
    return replica


async def test_windows_that_are_sent_together_do_not_all_go_to_the_same_idle_replica(router):
    replicas = [FakeReplica(name) for name in "abc"]
    went = await asyncio.gather(*(chosen(router, *replicas, number=number) for number in range(3)))
    assert {replica.replica_id for replica in went} == {replica.replica_id for replica in replicas}


async def test_callers_that_know_nothing_of_each_other_do_not_choose_the_same_replica(router):
    replicas = [FakeReplica(name) for name in "abcdef"]
    callers = [new_router() for _ in replicas]
    went = await asyncio.gather(*(chosen(caller, *replicas, number=number) for number, caller in enumerate(callers)))
    assert {replica.replica_id for replica in went} == {replica.replica_id for replica in replicas}


async def test_a_window_joins_the_shortest_queue(router):
    busy, busier, busiest = FakeReplica("a", 300), FakeReplica("b", 350), FakeReplica("c", 900)
    went = [await chosen(router, busy, busier, busiest, number=number) for number in range(4)]
    assert went == [busy, busier, busy, busier]


async def test_a_dead_replica_is_left_out_and_a_silent_one_is_not_waited_for(router):
    dead, silent, busy = FakeReplica("a", fails=ActorDiedError()), FakeReplica("b", is_silent=True), FakeReplica("c", 7)
    assert await chosen(router, dead, silent, busy) is busy


async def test_where_nobody_says_anything_a_window_still_goes_somewhere(router):
    silent = [FakeReplica(name, is_silent=True) for name in "ab"]
    assert await chosen(router, *silent) in silent


async def test_neither_a_single_replica_is_asked_anything_nor_any_about_what_is_no_window(router):
    only, other = FakeReplica("a"), FakeReplica("b")
    assert await chosen(router, only) is only
    [[replica]] = await router.choose_replicas([only, other], window(method="describe"))
    assert replica in (only, other)
    assert only.asked == other.asked == 0


@ray.remote(num_cpus=0)
class OtherProcess:
    """A caller with a handle of its own."""

    def __init__(self) -> None:
        self._responses: list[DeploymentResponse] = []

    def ask(self, window: int) -> None:
        self._responses.append(DeploymentHandle("Holding", "routing").answer.remote(window))

    async def replies(self) -> list[str]:
        return [await response for response in self._responses]


@pytest.fixture
def holding(connected_ray: None, tmp_path: Path) -> Iterator[Path]:
    # defined in here, so that it is pickled whole: Serve may have been started by a process that knows no tests
    class Holding:
        """Says that it took a window, and holds it until all may go."""

        def __init__(self) -> None:
            self._windows: set[int] = set()

        async def expect(self, window: int, at_most_s: float | None) -> dict[str, Any]:
            is_promised = at_most_s is not None and len(self._windows) <= at_most_s
            self._windows |= {window} if is_promised else set()
            left = {"busy_s": 0.0, "work": len(self._windows), "s_per_work": 1.0}
            return {**left, "num_windows": len(self._windows), "is_promised": is_promised}

        async def answer(self, window: int) -> str:
            self._windows.add(window)
            (tmp_path / f"taken-{window}").touch()
            while not (tmp_path / "go").exists():  # noqa: ASYNC110 - it is another process that says so
                await asyncio.sleep(0.01)
            return str(serve.get_replica_context().replica_id)

    deployment = serve.deployment(
        Holding,
        name="Holding",
        num_replicas=3,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=256,
        request_router_config=RequestRouterConfig(request_router_class=ROUTER),
    )
    serve.run(deployment.bind(), name="routing", route_prefix=None)
    yield tmp_path
    serve.delete("routing")


@pytest.mark.long
def test_windows_of_two_processes_are_shared_out_evenly_among_three_replicas(holding):
    here, there = DeploymentHandle("Holding", "routing"), OtherProcess.remote()
    responses = []
    for window in range(6):
        if window % 2:
            ray.get(there.ask.remote(window))
        else:
            responses.append(here.answer.remote(window))
        while not (holding / f"taken-{window}").exists():
            time.sleep(2 * STALE_S)
        time.sleep(2 * STALE_S)  # what anyone has heard until now is out of date

    (holding / "go").touch()
    replies = [response.result(timeout_s=60) for response in responses] + ray.get(there.replies.remote())
    assert sorted(Counter(replies).values()) == [2, 2, 2]
