"""Which replica a window goes to: the policy as a pure function, and once for real."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import ray
from ray import serve
from ray.serve.config import RequestRouterConfig
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from teacher_server.routing import MAX_ASKED, ROUTER, STALE_S, Known, least_loaded, to_ask

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


class Holding:
    """Says that it took a window, and holds it until all may go."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    async def answer(self, window: int) -> str:
        (self._folder / f"taken-{window}").touch()
        while not (self._folder / "go").exists():  # noqa: ASYNC110 - it is another process that says so
            await asyncio.sleep(0.01)
        return str(serve.get_replica_context().replica_id)


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
    deployment = serve.deployment(
        Holding,
        name="Holding",
        num_replicas=3,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=256,
        request_router_config=RequestRouterConfig(request_router_class=ROUTER),
    )
    serve.run(deployment.bind(str(tmp_path)), name="routing", route_prefix=None)
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
