"""Which replica a window goes to: the policy as a pure function, and once for real."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
import ray
from ray import serve
from ray.exceptions import ActorDiedError
from ray.serve._private.common import DeploymentHandleSource, DeploymentID
from ray.serve.config import RequestRouterConfig
from ray.serve.handle import DeploymentHandle, DeploymentResponse
from ray.serve.request_router import ReplicaID

from teacher_server import routing
from teacher_server.routing import MAX_ASKED, ROUTER, STALE_S, Known, LeastLoaded, least_loaded, to_ask

NOON = 1000.0
LATELY, LONG_AGO = NOON - STALE_S / 2, NOON - 2 * STALE_S


def asked(known: dict[str, Known], *replicas: str, is_first: bool = True) -> list[str]:
    return to_ask(replicas, known, now=NOON, draw=Random(0), is_first=is_first)


def test_a_window_goes_where_the_fewest_are():
    known = {"a": Known(3, LATELY), "b": Known(1, LATELY), "c": Known(2, LATELY)}
    assert least_loaded(known, now=NOON) == ["b"]


def test_equal_replicas_are_left_to_chance():
    known = {"a": Known(1, LATELY), "b": Known(2, LATELY), "c": Known(1, LATELY)}
    assert least_loaded(known, now=NOON) == ["a", "c"]


def test_what_was_heard_long_ago_does_not_count_beside_what_was_heard_lately():
    known = {"a": Known(0, LONG_AGO), "b": Known(5, LATELY)}
    assert least_loaded(known, now=NOON) == ["b"]
    assert least_loaded({"a": Known(2, LONG_AGO), "b": Known(1, LONG_AGO)}, now=NOON) == ["b"]
    assert least_loaded({}, now=NOON) == []


def test_nobody_is_asked_while_one_is_known_to_be_idle():
    assert asked({"a": Known(0, LATELY), "b": Known(4, LONG_AGO)}, "a", "b", "c") == []


def test_the_one_that_seems_best_is_asked_first_and_then_all_others_of_which_nothing_is_known():
    known = {"a": Known(3, LONG_AGO), "b": Known(1, LONG_AGO), "c": Known(2, LONG_AGO), "d": Known(5, LATELY)}
    assert asked(known, "a", "b", "c", "d") == ["b"]
    known["b"] = Known(1, NOON + 1.0)  # its reply, which took a second
    assert asked(known, "a", "b", "c", "d", is_first=False) == ["c", "a"]


def test_a_new_replica_is_asked_before_those_that_have_windows():
    assert asked({"a": Known(1, LONG_AGO), "b": Known(2, LONG_AGO)}, "a", "b", "new") == ["new"]


def test_of_many_replicas_only_some_are_asked():
    many = [f"r{number}" for number in range(100)]
    assert len(asked({}, *many, is_first=False)) == MAX_ASKED - 1


class FakeReplica:
    """Says how many windows it has, or doesn't."""

    def __init__(self, name: str, says: int | Exception | None) -> None:
        self.replica_id = ReplicaID(name, DEPLOYMENT)
        self.max_ongoing_requests = 256
        self._says = says

    async def get_queue_len(self, *, deadline_s: float) -> int:
        if self._says is None:
            await asyncio.Event().wait()
        if isinstance(self._says, Exception):
            raise self._says
        return self._says


DEPLOYMENT = DeploymentID("Teacher", "teacher-any-1")


@pytest.fixture
def router(monkeypatch) -> LeastLoaded:
    """A caller's router, at noon."""
    monkeypatch.setattr(routing, "time", SimpleNamespace(monotonic=lambda: NOON))
    router = LeastLoaded(DEPLOYMENT, DeploymentHandleSource.UNKNOWN, use_replica_queue_len_cache=True)
    router.queue_len_response_deadline_s = 0.01
    return router


async def chosen(router: LeastLoaded, *replicas: FakeReplica) -> FakeReplica:
    [[replica]] = await router.choose_replicas(list(replicas))
    return replica


async def test_windows_that_are_sent_together_do_not_all_go_to_the_same_idle_replica(router):
    replicas = [FakeReplica(name, 0) for name in "abc"]
    went = await asyncio.gather(*(chosen(router, *replicas) for _ in range(3)))
    assert {replica.replica_id for replica in went} == {replica.replica_id for replica in replicas}


async def test_what_was_sent_and_what_is_answered_counts_at_once(router):
    busy, busier = FakeReplica("a", 2), FakeReplica("b", 4)
    assert await chosen(router, busy, busier) is busy
    assert await chosen(router, busy, busier) is busy
    for _ in range(2):
        router.on_request_completed(busier.replica_id, "one of ours")
    assert await chosen(router, busy, busier) is busier


async def test_a_dead_replica_is_left_out_and_a_silent_one_is_not_waited_for(router):
    dead, silent, busy = FakeReplica("a", ActorDiedError()), FakeReplica("b", None), FakeReplica("c", 7)
    assert await chosen(router, dead, silent, busy) is busy


async def test_where_nobody_says_anything_a_window_still_goes_somewhere(router):
    silent = [FakeReplica(name, None) for name in "ab"]
    assert await chosen(router, *silent) in silent


async def test_a_single_replica_is_not_asked_anything(router):
    only = FakeReplica("a", RuntimeError("asked"))
    assert await chosen(router, only) is only


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

        async def answer(self, window: int) -> str:
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
