"""Child processes that outlive a crash of their parent: started in a session of their own, known by pid and start time."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import psutil

from distill.contracts.base import Stored
from distill.contracts.errors import DependencyDown

MARK = "STILLHOUSE_STACK"
"""Environment variable that every process of a stack inherits."""

ROUNDS = 5
"""What is being stopped may start a child meanwhile, as Ray's dashboard does: look again until there is nothing."""


class ProcessId(Stored):
    """A process for ever: pids are used again, pids with their start time are not."""

    pid: int
    create_time: float

    @classmethod
    def of(cls, pid: int) -> "ProcessId":
        """The process that has this pid now.

        Raises:
            psutil.NoSuchProcess: there is none.
        """
        return cls(pid=pid, create_time=psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        """The process, if it still lives."""
        try:
            process = psutil.Process(self.pid)
            # psutil derives start times from the clock; a correction of the clock moves them a little
            same = abs(process.create_time() - self.create_time) < 1.0
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


class Child:
    """A process of the stack: one that we started, or one that an earlier run started and we adopted."""

    def __init__(self, identity: ProcessId, popen: "subprocess.Popen[bytes] | None" = None) -> None:
        self.identity = identity
        self._popen = popen

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.identity.pid

    def is_alive(self) -> bool:
        """Whether it runs; reaps it if it ended."""
        if self._popen is not None:
            return self._popen.poll() is None
        return self.identity.find() is not None

    def stop(self, grace_s: float) -> bool:
        """SIGTERM, then SIGKILL after ``grace_s``; False where it had to be killed."""
        self._send(signal.SIGTERM)
        if self._wait(grace_s):
            return True
        self.kill()
        return False

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._send(signal.SIGKILL)
        self._wait(10.0)

    def _send(self, number: signal.Signals) -> None:
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _wait(self, timeout_s: float) -> bool:
        return wait_until(lambda: not self.is_alive(), timeout_s=timeout_s, every_s=0.05)


def spawn(command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path) -> Child:
    """Start ``command`` in a session of its own, with what it prints appended to ``log``."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        popen = subprocess.Popen(
            list(command),
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    return Child(ProcessId.of(popen.pid), popen)


def wait_until_answers(
    what: str, child: Child, answers: Callable[[], bool], *, timeout_s: float, log: Path, every_s: float = 0.1
) -> None:
    """Wait until ``answers()``.

    Raises:
        DependencyDown: the child ended, or ``timeout_s`` went by; the end of its log is in the message.
    """
    wait_until(lambda: not child.is_alive() or answers(), timeout_s=timeout_s, every_s=every_s)
    if child.is_alive() and answers():
        return
    ended = "didn't answer in time" if child.is_alive() else "ended while starting"
    raise DependencyDown(f"{what} {ended}. The end of {log}:\n{tail(log)}")


def wait_until(happened: Callable[[], bool], *, timeout_s: float, every_s: float) -> bool:
    """Poll until ``happened()``; False where ``timeout_s`` went by first."""
    deadline = time.monotonic() + timeout_s
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def stop_remains(mark: str, leaders: Sequence[ProcessId], *, keep: Collection[int] = (), grace_s: float = 3.0) -> int:
    """Stop what is left of a stack, wherever it was moved to; returns how many processes there were.

    A worker of Ray may outlive the head that started it: it stands in the session that one of ``leaders`` opened, or
    bears the stack's mark in its environment. Pids in ``keep`` live on.
    """
    num_stopped = 0
    for _ in range(ROUNDS):
        left = [process for process in remains(mark, leaders) if process.pid not in keep]
        if not left:
            break
        _stop_all(left, grace_s=grace_s)
        num_stopped += len(left)
    return num_stopped


def _stop_all(processes: Sequence[psutil.Process], *, grace_s: float) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs(processes, timeout=grace_s)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, timeout=grace_s)


def remains(mark: str, leaders: Sequence[ProcessId]) -> list[psutil.Process]:
    """The living processes that bear ``mark``, or stand in a session of ``leaders``."""
    sessions = {leader.pid: leader for leader in leaders if _is_its_own(leader)}
    others = (process for process in psutil.process_iter() if process.pid != os.getpid())
    return [process for process in others if _in_session(process, sessions) or _bears(process, mark)]


def _is_its_own(leader: ProcessId) -> bool:
    """False where another process has the pid now, and with it a session that isn't ours."""
    return leader.find() is not None or not psutil.pid_exists(leader.pid)


def _in_session(process: psutil.Process, sessions: Mapping[int, ProcessId]) -> bool:
    try:
        leader = sessions.get(os.getsid(process.pid))
        return leader is not None and process.create_time() > leader.create_time - 1.0
    except (OSError, psutil.Error):
        return False


def _bears(process: psutil.Process, mark: str) -> bool:
    try:
        return bool(process.environ().get(MARK) == mark)
    except psutil.Error:
        return False


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on."""
    with contextlib.ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]


def tail(path: Path, *, num_lines: int = 20) -> str:
    """The last lines of a log."""
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text(errors="replace").splitlines()[-num_lines:])
    return "(no log)"
