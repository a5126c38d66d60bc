"""Stopping a stack, in order, by the process that runs it or by another one."""

import contextlib
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import psutil

from distill.contracts.errors import Conflict
from services.stack import ray_head
from services.stack.home import ControlPlaneState, RayState, RedisState, StackHome, StackState
from services.stack.processes import Child, ProcessId, remains, stop_remains, wait_until

DRIVERS_S = 10.0
"""A driver that is interrupted ends within a second, and waits longer only for Redis."""

LAST_WORDS_S = 5.0
"""Once its stack has stopped, `up` says so, and ends: whoever stops it finds no process of it afterwards."""

Say = Callable[[str], None]
"""Hears, in words for a person, what happens."""


def silent(_text: str) -> None:
    """Say nothing."""


def stop_stack(home: StackHome, *, say: Say = silent, timeout_s: float = 90.0) -> bool:
    """Stop the stack of a state folder from another process; False where none runs.

    Raises:
        Conflict: its supervisor doesn't end.
    """
    state = home.read()
    if state is None:
        return False
    up = state.up
    supervisor = up.find() if up else None
    if up is not None and supervisor is not None and home.is_locked():
        say(f"asking process {supervisor.pid} to stop its stack")
        supervisor.send_signal(signal.SIGTERM)
        if not wait_until(lambda: not home.is_locked(), timeout_s=timeout_s, every_s=0.2):
            raise Conflict(f"process {supervisor.pid} has not stopped its stack after {timeout_s:.0f} s")
        wait_until(lambda: up.find() is None, timeout_s=LAST_WORDS_S, every_s=0.05)
        return True
    with home.lock():
        children = [adopted(part) for part in (state.control_plane, state.ray, state.redis)]
        return stop_parts(home, state, *children, say=say)


def stop_parts(
    home: StackHome, state: StackState, plane: Child | None, ray: Child | None, redis: Child | None, *, say: Say
) -> bool:
    """Stop in order: who uses a part is stopped before it. Returns whether anything ran."""
    _stop("the control plane", plane, grace_s=10.0, say=say)
    leaders = [state.ray.process] if state.ray and state.ray.process else []
    _interrupt_drivers(state.mark, leaders)
    _stop("Ray", ray, grace_s=15.0, say=say)
    num_left = stop_remains(state.mark, leaders, keep=[redis.pid] if redis else [])
    _stop("Redis", redis, grace_s=10.0, say=say)
    if state.ray:
        ray_head.forget_ray(state.ray)
    home.write(state.stopped())
    return num_left > 0 or any((plane, ray, redis))


def uninterrupted(work: Callable[[], None]) -> None:
    """Do ``work`` to its end; a Ctrl-C meanwhile counts afterwards: what is stopped by half leaves orphans."""
    interruption = None
    with ThreadPoolExecutor(max_workers=1) as executor:
        future = executor.submit(work)
        while not future.done():
            try:
                wait([future])
            except KeyboardInterrupt as error:
                interruption = error
    future.result()
    if interruption is not None:
        raise interruption


def end(child: Child | None, *, kill: bool) -> None:
    """Stop a part, with SIGKILL at once if ``kill``."""
    if child is not None and kill:
        child.kill()
    elif child is not None:
        child.stop(10.0)


def _interrupt_drivers(mark: str, leaders: Sequence[ProcessId]) -> None:
    """Let each running attempt say, while Redis still hears it, that it was interrupted: that is no failure of its job.

    One that has had its last word already, and whose process is about to end, hears nothing of it.
    """
    drivers = [process for process in remains(mark, leaders) if _drives_an_attempt(process)]
    for driver in drivers:
        with contextlib.suppress(psutil.Error):
            driver.send_signal(signal.SIGINT)
    psutil.wait_procs(drivers, timeout=DRIVERS_S)


def _drives_an_attempt(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[1:4] == ["-m", "student_worker", "--job"]
    except psutil.Error:
        return False


def adopted(part: RedisState | RayState | ControlPlaneState | None) -> Child | None:
    """The part's process as a child of ours, if it still lives."""
    if part is None or part.process is None or part.process.find() is None:
        return None
    return Child(part.process)


def _stop(name: str, child: Child | None, *, grace_s: float, say: Say) -> None:
    if child is None:
        return
    begun = time.monotonic()
    how = "stopped" if child.stop(grace_s) else "had to be killed"
    say(f"{name} {how} after {time.monotonic() - begun:.1f} s")
