"""A control plane in a process of its own that dies at one of its steps, as SIGKILL would end it.

Its client of Redis is one that ends the process, before a command is sent or after it was answered.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from services.control_plane import __main__, connections
from services.stack.processes import wait_until
from tests.services.control_plane.processes import answers, environment_of

ANSWER = "stillhouse:answer:"
Command = tuple[Any, ...]

STEPS: dict[str, Callable[[Command], bool]] = {
    "mark": lambda command: command[0] == "SET" and str(command[1]).startswith(ANSWER),
    # what makes something has the kept answer for its first key, as what forgets a marker has, which has no other
    "make": lambda command: len(keys_of(command)) > 1 and keys_of(command)[0].startswith(ANSWER),
    "append": lambda command: command[0] == "XADD" and ":teacher:" in str(command[1]),
    "apply": lambda command: any(key.startswith(ANSWER) for key in keys_of(command)[1:]),
}
"""What is done on the way from a request to its kept answer."""


def keys_of(command: Command) -> list[str]:
    """What a Lua step works on; nothing of any other command."""
    return [str(key) for key in command[3 : 3 + command[2]]] if command[0] == "EVALSHA" else []


@contextmanager
def a_dying(redis_url: str, folder: Path, *, port: int, key: str, when: str, step: str) -> Iterator[BaseProcess]:
    """One that dies ``before`` or ``after`` the step, once it answers; with this key for its first admin."""
    forking = multiprocessing.get_context("forkserver")  # which imports all that is needed once
    forking.set_forkserver_preload([__name__])
    arguments = (environment_of(redis_url, folder, port=port, key=key), folder / "control-plane.log", when, step)
    process = forking.Process(target=_run, args=arguments, daemon=True)
    process.start()
    try:
        assert wait_until(lambda: answers(port) or not process.is_alive(), timeout_s=60, every_s=0.02)
        assert process.is_alive()
        yield process
    finally:
        process.kill()
        process.join()


def _run(environment: Mapping[str, str], log: Path, when: str, step: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.environ.update(environment)
    is_last = STEPS[step]

    class Dying(Redis):
        async def execute_command(self, *command: Any, **options: Any) -> Any:
            if is_last(command) and when == "before":
                os._exit(9)
            reply = await super().execute_command(*command, **options)
            if is_last(command):
                os._exit(9)
            return reply

    connections.Redis = Dying  # type: ignore[misc]  # in this process, which is about to die
    __main__.main()
