"""One request to one teacher, asked again until it is answered, and what is known of that teacher meanwhile.

What comes of a try (`Call.poll`):

    =====================================  ===========================================================
    the reply                              done
    no replica yet, replica died, time-    asked again after a pause, of another replica if there is
    out, busy, Serve or Ray away           one; counts as silence of the teacher
    an error of ours that trying again     raised
    can't help (`InvalidSpec`, ...)
    any other error in the replica, one    asked again, `MAX_FAILURES` times in all
    that can't be pickled too
    =====================================  ===========================================================

Silence counts from where somebody waits: an error that came while nobody looked is first of all asked again.
"""

import contextlib
import random
import time
from collections.abc import Callable
from typing import Any

import ray
from ray import serve
from ray.exceptions import GetTimeoutError, RayError, RayTaskError, UnserializableException
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from distill.contracts import names
from distill.contracts.errors import DependencyDown, StillhouseError, TeacherUnavailable
from distill.contracts.teachers import ResolvedTeacher
from teacher_server.fetching import fetch

SILENT_S = 3.0
"""Silence after which a person is told."""
FRESH_LINE_S = 15.0
"""Silence after which the line is opened anew: Serve itself may have been shut down and started again."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
MAX_FAILURES = 3


class AskStopped(TeacherUnavailable):
    """``should_stop`` said to wait no longer."""

    code = "ask_stopped"


class Line:
    """The way to one teacher, and how long it has been silent: shared by all calls to it."""

    def __init__(
        self,
        teacher: ResolvedTeacher,
        *,
        on_wait: Callable[[str, str], None] | None,
        on_return: Callable[[str], None] | None,
        give_up_s: float,
    ) -> None:
        self.teacher = teacher
        self._on_wait = on_wait
        self._on_return = on_return
        self._give_up_s = give_up_s
        self._handle: DeploymentHandle | None = None
        self._opened_at = 0.0
        self._answered_at = 0.0
        self._silent_since: float | None = None
        self._is_waited_for = False

    def handle(self) -> Any:
        """A handle, whether or not the application is there yet: Serve keeps a request until a replica is.

        Raises:
            DependencyDown: this process is not connected to Ray.
            RayServeException: Serve doesn't run on this cluster.
        """
        if not ray.is_initialized():
            raise DependencyDown("this process is not connected to Ray: call ray.init() before asking a teacher")
        if self._handle is None:
            self._opened_at = time.monotonic()
            application = names.application(self.teacher.name, self.teacher.version)
            self._handle = DeploymentHandle(names.DEPLOYMENT, application)
        return self._handle

    def is_open(self, handle: object) -> bool:
        """Whether ``handle`` is still the one to use."""
        return handle is self._handle

    def heard(self) -> None:
        """The teacher answered."""
        self._answered_at = time.monotonic()
        self._silent_since = None
        if self._is_waited_for:
            self._is_waited_for = False
            if self._on_return is not None:
                self._on_return(self.teacher.reference)

    def not_heard(self, why: str, *, since: float) -> None:
        """A try that began at ``since`` came to nothing, or waits for a replica.

        Raises:
            TeacherUnavailable: the teacher has been silent for ``give_up_s``.
        """
        if self._silent_since is None:
            self._silent_since = max(since, self._answered_at)
        silent_s = time.monotonic() - self._silent_since
        if silent_s > self._give_up_s:
            raise TeacherUnavailable(f"{self.teacher.reference} has not answered for {silent_s:.0f} s: {why}")
        if silent_s > SILENT_S and not self._is_waited_for:
            self._is_waited_for = True
            if self._on_wait is not None:
                self._on_wait(self.teacher.reference, why)
        if silent_s > FRESH_LINE_S and time.monotonic() - self._opened_at > FRESH_LINE_S:
            self._hang_up()

    def _hang_up(self) -> None:
        self._handle = None
        # Serve remembers its controller for the life of the process, even one that is gone, and has no public way to
        # forget it that doesn't also start or stop Serve
        serve.context._disconnect()


class Call:
    """One request to one teacher; the same arguments, so the same request id, at every try."""

    def __init__(self, line: Line, method: str, arguments: tuple[Any, ...], *, patience_s: float) -> None:
        """Send it, if Serve is there; never waits.

        Args:
            line: to whom.
            method: of the replica.
            arguments: for it.
            patience_s: a replica that has taken the request and says nothing for so long has lost it.

        Raises:
            DependencyDown: this process is not connected to Ray.
        """
        self.teacher = line.teacher
        self.reply: Any = None
        self.is_done = False
        self.trouble = "it has not answered yet"
        self._line = line
        self._method = method
        self._arguments = arguments
        self._patience_s = patience_s
        self._handle: Any = None
        self._response: Any = None
        self._waited_since: float | None = None
        self._taken_at: float | None = None
        self._next_try_at = 0.0
        self._num_tries = 0
        self._num_failures = 0
        self._send()

    def poll(self, timeout_s: float) -> None:
        """Wait for the reply, at most ``timeout_s``, and see to the next try where this one failed.

        Raises:
            TeacherUnavailable: the teacher has been silent for too long, or failed `MAX_FAILURES` times.
            StillhouseError: the replica's own word, where asking again can't help.
        """
        if self.is_done:
            return
        self._waited_since = self._waited_since or time.monotonic()
        if self._response is None:
            self._pause(timeout_s)
            return
        try:
            self.reply = fetch(self._response, timeout_s)
        except RayTaskError as error:
            self._failed_in_replica(error)
        except UnserializableException as error:
            self._failed(error)
        except GetTimeoutError:
            self._is_computed()
        except TimeoutError:
            self._has_no_replica()
        except (RayError, RayServeException) as error:
            self._try_again(_in_words(error))
        else:
            self.is_done = True
            self._response = None
            self._line.heard()

    def cancel(self) -> None:
        """Take the request back, if it is not answered."""
        response, self._response = self._response, None
        if response is not None:
            # best effort: a replica that is gone can't be told
            with contextlib.suppress(RayError, RayServeException):
                response.cancel()

    def _send(self) -> None:
        self._num_tries += 1
        self._taken_at = None
        try:
            self._handle = self._line.handle()
            self._response = getattr(self._handle, self._method).remote(*self._arguments)
        except (RayError, RayServeException) as error:
            self._try_again(_in_words(error))

    def _pause(self, timeout_s: float) -> None:
        left_s = self._next_try_at - time.monotonic()
        if left_s > timeout_s:
            time.sleep(timeout_s)
            return
        time.sleep(max(0.0, left_s))
        self._send()

    def _is_computed(self) -> None:
        self._taken_at = self._taken_at or time.monotonic()
        if time.monotonic() - self._taken_at > self._patience_s:
            self.cancel()
            self._try_again(f"a replica took the request and said nothing for {self._patience_s:.0f} s")

    def _has_no_replica(self) -> None:
        self._not_heard("no replica is running")
        if not self._line.is_open(self._handle):
            self.cancel()
            self._try_again(self.trouble)

    def _failed_in_replica(self, error: RayTaskError) -> None:
        cause = error.cause
        if type(cause) is RayError:  # what Ray puts for an error that can't be pickled
            self._failed(cause)
        elif isinstance(cause, TeacherUnavailable | RayError | RayServeException):
            self._try_again(_in_words(cause))
        elif isinstance(cause, StillhouseError):
            self._response = None
            raise cause from error
        else:
            self._failed(cause)

    def _failed(self, cause: Exception) -> None:
        self._num_failures += 1
        if self._num_failures >= MAX_FAILURES:
            self._response = None
            raise TeacherUnavailable(
                f"{self.teacher.reference} failed {self._num_failures} times at the same request: {_in_words(cause)}"
            ) from cause
        self._try_again(_in_words(cause))

    def _try_again(self, why: str) -> None:
        self._response = None
        longest_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._num_tries, 10))
        # half of it at random, so that those who failed together don't return together
        self._next_try_at = time.monotonic() + longest_s * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._not_heard(why)

    def _not_heard(self, why: str) -> None:
        self.trouble = why
        if self._waited_since is not None:
            self._line.not_heard(why, since=self._waited_since)


def _in_words(error: BaseException) -> str:
    if isinstance(error, StillhouseError):
        return error.message
    text = str(getattr(error, "message", None) or error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
