"""Whom the storm may hit: processes of one stack, found in Ray's own words and never by name."""

import os
import random
import signal
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import psutil

from distill.contracts import names
from services.stack.processes import MARK
from services.stack.stack import Stack

Find = Callable[[Stack], list[int]]


def replicas(stack: Stack) -> list[int]:
    """Of every teacher."""
    return [pid for name in _applications(stack) if name.startswith("teacher-") for pid in _running(stack, name)]


def book(stack: Stack) -> list[int]:
    """The answer book."""
    return _running(stack, names.BOOK_APPLICATION)


def ranks(stack: Stack) -> list[int]:
    """Every rank of every job."""
    return _actors(stack, "RayTrainWorker")


def serve_controller(stack: Stack) -> list[int]:
    """The one process that decides which replicas there are."""
    return _actors(stack, "ServeController")


KINDS: Mapping[str, Find] = {
    "replica": replicas,
    "answer book": book,
    "rank": ranks,
    "Serve controller": serve_controller,
}


def hit(stack: Stack, kind: str, chance: random.Random) -> int | None:
    """SIGKILL to one process of this kind; None where there is none at this moment."""
    found = KINDS[kind](stack)
    if not found:
        return None
    pid = chance.choice(found)
    try:
        assert psutil.Process(pid).environ()[MARK] == stack.state.mark
        os.kill(pid, signal.SIGKILL)
    except (psutil.NoSuchProcess, ProcessLookupError):  # it went by itself, a moment ago
        return None
    return pid


def _running(stack: Stack, application: str) -> list[int]:
    found = _applications(stack).get(application, {"deployments": {}})
    return [
        replica["pid"]
        for deployment in found["deployments"].values()
        for replica in deployment["replicas"]
        if replica["state"] == "RUNNING" and replica["pid"]
    ]


def _applications(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = _ask_ray(stack, "/api/serve/applications/")["applications"]
    return found


def _actors(stack: Stack, kind: str) -> list[int]:
    found = _ask_ray(stack, "/api/v0/actors?limit=10000")["data"]["result"]["result"]
    return [int(one["pid"]) for one in found if one["class_name"] == kind and one["state"] == "ALIVE" and one["pid"]]


def _ask_ray(stack: Stack, path: str) -> Any:
    ray = stack.state.ray
    assert ray is not None
    token = stack.home.token.read_text().strip()
    answer = httpx.get(ray.dashboard + path, headers={"Authorization": f"Bearer {token}"}, timeout=30)
    return answer.raise_for_status().json()
