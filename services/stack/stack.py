"""The stack of one machine: start, adopt, supervise, stop."""

import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from uuid import uuid4

from distill.contracts.settings import NodeSettings
from services.stack import control_plane, ray_head, redis_server
from services.stack.home import ControlPlaneState, RayState, StackHome, StackState
from services.stack.processes import MARK, Child, ProcessId, stop_remains
from services.stack.settings import DEFAULT_PORT, StackSettings
from services.stack.stopping import Say, adopted, end, silent, stop_parts, uninterrupted
from services.stack.supervisor import Part, Supervisor

Known = TypeVar("Known")

NOT_INHERITED = frozenset({"STILLHOUSE_KEY", "STILLHOUSE_KEY_FILE", "STILLHOUSE_ADMIN_KEY_HASH"})
"""A person's own: no process of the stack has any use for them, and Ray's environment is no place for a secret."""


class Stack:
    """Redis, Ray and the control plane, running for as long as the ``with`` block does.

    ``port`` 0 takes any free port. What a killed run left is adopted where it still answers, else cleaned away.
    ``say`` hears, in words for a person, what is being started, what died and what was brought back.

    Raises (on entering):
        Conflict: another process supervises the same state folder, or the port is taken.
        DependencyDown: a part doesn't come up; the end of its log is in the message.
    """

    def __init__(
        self,
        settings: StackSettings,
        *,
        port: int = DEFAULT_PORT,
        num_cpus: int | None = None,
        say: Say = silent,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.home = StackHome(settings.home)
        self._settings = settings
        self._asked_port = port
        self._num_cpus = num_cpus or ray_head.logical_cpus()
        self._say = say
        self._extra = dict(environment or {})
        self._guard = threading.RLock()
        self._held = ExitStack()
        self._state = StackState(mark=uuid4().hex)
        self._redis = Part("Redis", None, self._start_redis)
        self._ray = Part("Ray", None, self._start_ray)
        self._control_plane = Part("The control plane", None, self._start_control_plane)
        self._supervisor = Supervisor((self._redis, self._ray, self._control_plane), guard=self._guard, say=say)

    @property
    def url(self) -> str:
        """Base URL of the control plane."""
        return _known(self._state.url)

    @property
    def key(self) -> str:
        """The operator's API key of this stack."""
        return self.home.admin_key()

    @property
    def redis_url(self) -> str:
        """Of the stack's Redis, with its password."""
        return _known(self._state.redis).url

    @property
    def state(self) -> StackState:
        """What ``stack.json`` says now: pids, ports, folders."""
        return self._state

    @property
    def node(self) -> NodeSettings:
        """What the environment of every process of the stack says."""
        return NodeSettings(
            redis_url=self.redis_url,
            door_redis_url=_known(self._state.redis).door_url,
            storage=self.home.storage,
            data_root=self._settings.data_root or self.home.data,
            cache=self._settings.cache or self.home.cache,
            fashion_mnist=self._settings.fashion_mnist,
            plugins=self._settings.plugins,
            dataset_bytes=self._settings.dataset_bytes,
            answers_memory_bytes=self._settings.answers_memory_bytes,
            answers_disk_bytes=self._settings.answers_disk_bytes,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Bring everything up, and return once the control plane is ready."""
        self.home.make()
        self._held.enter_context(self.home.lock())
        try:
            self._bring_up()
        except BaseException:
            uninterrupted(self._stop_all)
            raise
        self._supervisor.start()

    def stop(self) -> None:
        """Stop everything that this stack started or adopted, in order; nothing of it is left."""
        uninterrupted(self._stop_all)

    def restart_control_plane(self, *, kill: bool = False) -> None:
        """Stop it (SIGKILL with ``kill``), start it on the same port, and wait until it is ready."""
        with self._guard:
            end(self._control_plane.child, kill=kill)
            self._control_plane.child = self._start_control_plane()
            control_plane.wait_for_control_plane(self._control_plane.child, self.url, self.home)

    def restart_redis(self, *, kill: bool = False) -> None:
        """Stop it (SIGKILL with ``kill``), and start it on the same port and files."""
        with self._guard:
            end(_known(self._redis.child), kill=kill)
            self._redis.child = self._start_redis()

    def _bring_up(self) -> None:
        self._state = (self.home.read() or self._state).model_copy(update={"up": ProcessId.of(os.getpid())})
        self.home.write(self._state)
        end(adopted(self._state.control_plane), kill=False)
        port = control_plane.choose_port(self._asked_port, self._state.control_plane)
        self._redis.child = self._adopt_redis() or self._start_redis_if_ours()
        self._ray.child = self._adopt_ray() or self._start_ray()
        self._keep(url=f"http://127.0.0.1:{port}", control_plane=ControlPlaneState(port=port))
        # not before Ray has a node: the control plane would take it for a cluster without CPUs, and refuse jobs
        self._wait_for_ray()
        self._control_plane.child = self._start_control_plane()
        self._wait_for_control_plane()

    def _wait_for_ray(self) -> None:
        begun = time.monotonic()
        ray_head.wait_for_ray(_known(self._ray.child), _known(self._state.ray), self.home)
        self._say(f"Ray answers after {time.monotonic() - begun:.1f} s")

    def _wait_for_control_plane(self) -> None:
        begun = time.monotonic()
        control_plane.wait_for_control_plane(_known(self._control_plane.child), self.url, self.home)
        self._say(f"the control plane is ready after {time.monotonic() - begun:.1f} s: {self.url}")

    def _adopt_redis(self) -> Child | None:
        last = self._state.redis
        child = adopted(last)
        if child is None or last is None:
            return None
        # one that an older version started knows no user for the door
        if self._settings.redis_url is None and last.door_url and redis_server.answers(last.url):
            self._say(f"Redis still runs (pid {child.pid}): taking it over")
            return child
        child.stop(10.0)
        return None

    def _start_redis_if_ours(self) -> Child | None:
        if self._settings.redis_url is None:
            return self._start_redis()
        self._say(f"using the Redis at {redis_server.without_password(self._settings.redis_url)}")
        self._keep(redis=redis_server.given_redis(self._settings.redis_url, self._settings.door_redis_url))
        return None

    def _start_redis(self) -> Child:
        begun = time.monotonic()
        child, redis = redis_server.start_redis(self.home, environment=self._environment(), last=self._state.redis)
        self._keep(redis=redis)
        self._say(f"Redis answers on port {redis.port} after {time.monotonic() - begun:.1f} s (pid {child.pid})")
        return child

    def _adopt_ray(self) -> Child | None:
        last = self._state.ray
        child = adopted(last)
        if child is None or last is None:
            return None
        if self._suits(last) and ray_head.answers(last, self.home):
            self._say(f"Ray still runs (pid {child.pid}), and so do its jobs: taking it over")
            return child
        self._say("Ray still runs, but on other settings or without an answer: starting it afresh")
        child.stop(15.0)
        return None

    def _suits(self, ray: RayState) -> bool:
        """Whether a head that still runs has our settings; Serve on it can't move to another port."""
        asked = self._settings.door_port
        return ray.node == self.node and ray.door_port is not None and asked in {None, ray.door_port}

    def _start_ray(self) -> Child:
        num_left = self._clean_ray()
        if num_left:
            self._say(f"stopped {num_left} processes that an earlier Ray had left")
        environment = {**self._environment(), **ray_head.ray_environment(self.home), **self.node.to_environment()}
        before = self._state.ray
        door_port = ray_head.choose_door_port(self._settings.door_port, beside=self._asked_port, last=before)
        child, ray = ray_head.start_ray(
            self.home,
            node=self.node,
            door_port=door_port,
            environment=environment,
            num_cpus=self._num_cpus,
            last=before,
        )
        self._keep(ray=ray)
        self._say(f"Ray is starting with {self._num_cpus} logical CPUs (pid {child.pid}); dashboard {ray.dashboard}")
        if before and (before.dashboard, before.door_port) != (ray.dashboard, ray.door_port):
            end(self._control_plane.child, kill=False)  # it is started again, and told where Ray and the door are now
        return child

    def _clean_ray(self) -> int:
        keep = {part.child.pid for part in (self._redis, self._control_plane) if part.child}
        last = self._state.ray
        num_left = stop_remains(self._state.mark, [last.process] if last and last.process else [], keep=keep)
        if last:
            ray_head.forget_ray(last)
        return num_left

    def _start_control_plane(self) -> Child:
        environment = {**self._environment(), **ray_head.ray_environment(self.home), **self.node.to_environment()}
        port = _known(self._state.control_plane).port
        child, state = control_plane.start_control_plane(
            self.home, environment=environment, port=port, ray=_known(self._state.ray)
        )
        self._keep(control_plane=state)
        self._say(f"the control plane is starting on port {port} (pid {child.pid})")
        return child

    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        own = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        # whatever runs here finds this very stack, and its key by the file
        home = {"STILLHOUSE_HOME": str(self.home.folder)}
        return {**own, **home, "PATH": path, MARK: self._state.mark, **self._extra}

    def _keep(self, **changes: object) -> None:
        self._state = self._state.model_copy(update=changes)
        self.home.write(self._state)

    def _stop_all(self) -> None:
        self._supervisor.stop()
        with self._guard, self._held:
            children = (self._control_plane.child, self._ray.child, self._redis.child)
            stop_parts(self.home, self._state, *children, say=self._say)
            self._redis.child = self._ray.child = self._control_plane.child = None


def _known(part: Known | None) -> Known:
    if part is None:
        raise RuntimeError("the stack is not started")
    return part
