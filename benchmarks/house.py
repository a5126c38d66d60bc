"""One stack for a whole run of the benchmarks, and this process as a driver of its Ray."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis import Redis

from distill.contracts import names
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import ResolvedTeacher
from distill.journal.client import open_redis
from services.control_plane.deployment import DOOR_HOST, PROXY_LOCATION
from services.stack import ray_head
from services.stack.settings import StackSettings
from services.stack.stack import Stack

PLUGIN = "benchmarks.accelerator:net"
ROOT = Path(__file__).parent.parent
LOGICAL_CPUS = 32
"""Enough for everything to be placed: what really shares the cores is said with each figure."""


class House:
    """A stack in a temporary folder, for as long as the ``with`` block lasts."""

    def __init__(self) -> None:
        self._held = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    @contextmanager
    def served(self, teacher: ResolvedTeacher, *, replicas: int = 1, threads: int = 1) -> Iterator[None]:
        """Serve a teacher that lies on storage, as the control plane would, until the block ends."""
        from ray import serve

        from teacher_server.replica import TeacherArgs

        args = TeacherArgs(
            teacher=teacher.name,
            version=teacher.version,
            digest=teacher.digest,
            threads=threads,
        )
        application = names.application(teacher.name, teacher.version)
        serve.run(_application(args, replicas), name=application, route_prefix=None)
        try:
            yield
        finally:
            serve.delete(application)

    def _open(self) -> None:
        home = Path(self._held.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        settings = StackSettings(home=home, plugins=(PLUGIN,))
        self.stack = self._held.enter_context(
            Stack(settings, port=0, num_cpus=LOGICAL_CPUS, environment={"PYTHONPATH": str(ROOT)})
        )
        self.settings: NodeSettings = self.stack.node
        self.redis: Redis = open_redis(self.stack.redis_url)
        self._held.callback(self.redis.close)
        self._connect()

    def _connect(self) -> None:
        """The environment is that of a Ray job's driver; processes that are started from here inherit it."""
        os.environ.update(self.settings.to_environment() | ray_head.ray_environment(self.stack.home))
        state = self.stack.state.ray
        assert state is not None
        os.environ["RAY_ADDRESS"] = f"127.0.0.1:{state.ports['port']}"
        os.environ["PYTHONPATH"] = str(ROOT)
        import ray
        from ray import serve

        from teacher_server.book.app import build

        ray.init(log_to_driver=False, logging_level="ERROR")
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        self._held.callback(ray.shutdown)
        options = {"host": DOOR_HOST, "port": state.door_port}
        try:
            serve.start(proxy_location=PROXY_LOCATION, http_options=options)
        except ValueError:  # the control plane starts it at this very moment; then it is there
            serve.start(proxy_location=PROXY_LOCATION, http_options=options)
        serve.run(build({}), name=names.BOOK_APPLICATION, route_prefix=None)


def _application(args: Any, replicas: int) -> Any:
    from teacher_server.app import build

    # Serve has no public way to change the number of replicas of an application that somebody else built
    deployment = build(args)._bound_deployment
    return deployment.options(num_replicas=replicas).bind(args)
