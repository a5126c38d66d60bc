"""The teachers behind the door: their own Serve applications, asked through handles.

What comes of a try:

    ====================================================  ==================================
    the reply                                             given back
    no replica takes it, it died, took too long, busy,    `TeacherUnavailable`: ask again
    Serve or Ray away
    an error of ours in the replica                       raised as it is
    any other error in the replica                        raised: a bug of ours
    ====================================================  ==================================

Trying again is the caller's part: it knows how long it wants to, and waits without holding a place here.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from distill.contracts import names
from distill.contracts.errors import StillhouseError, TeacherUnavailable
from distill.contracts.teachers import ResolvedTeacher
from teacher_server.window import Array

TAKE_S = 2.0
"""In which a replica must take a window; longer means that none runs, or that all are full."""
DESCRIBE_S = 1.0

Reply = tuple[dict[str, Any], dict[str, Array]]


class Teachers(Protocol):
    """Whoever answers for teachers."""

    async def answer(
        self, teacher: ResolvedTeacher, header: Mapping[str, Any], tensors: Mapping[str, Array], *, patience_s: float
    ) -> Reply:
        """What `TeacherReplica.answer` answers."""

    async def is_there(self, teacher: ResolvedTeacher) -> bool:
        """Whether a replica of this very version answers."""


class ServedTeachers:
    """Every teacher that is served on this cluster."""

    def __init__(self) -> None:
        self._handles: dict[str, DeploymentHandle] = {}

    async def answer(
        self, teacher: ResolvedTeacher, header: Mapping[str, Any], tensors: Mapping[str, Array], *, patience_s: float
    ) -> Reply:
        """What `TeacherReplica.answer` answers; a caller that is cancelled takes the request back.

        Raises:
            TeacherUnavailable: no replica takes the window, or the one that did said nothing for ``patience_s``.
            StillhouseError: the replica's own word.
        """
        reply: Reply = await self._call(teacher, "answer", dict(header), dict(tensors), patience_s=patience_s)
        return reply

    async def is_there(self, teacher: ResolvedTeacher) -> bool:
        """Whether a replica answers within about a second, with the digest that was promised."""
        try:
            facts = await self._call(teacher, "describe", patience_s=DESCRIBE_S)
        except TeacherUnavailable:
            return False
        return bool(facts.get("digest") == teacher.digest)

    async def _call(self, teacher: ResolvedTeacher, method: str, *arguments: Any, patience_s: float) -> Any:
        try:
            return await _reply(getattr(self._handle(teacher), method).remote(*arguments), teacher, patience_s)
        except RayTaskError as error:
            raise _in_replica(error, teacher) from error
        except (RayError, RayServeException) as error:
            raise TeacherUnavailable(f"no replica of {teacher.reference} answers: {type(error).__name__}") from error

    def _handle(self, teacher: ResolvedTeacher) -> DeploymentHandle:
        application = names.application(teacher.name, teacher.version)
        if application not in self._handles:
            # Serve keeps a request until a replica is there, even for an application that isn't there yet
            self._handles[application] = DeploymentHandle(names.DEPLOYMENT, application)
        return self._handles[application]


async def _reply(response: DeploymentResponse, teacher: ResolvedTeacher, patience_s: float) -> Any:
    try:
        return await _waited_for(response, teacher, patience_s)
    except (TeacherUnavailable, asyncio.CancelledError):
        response.cancel()
        raise


async def _waited_for(response: DeploymentResponse, teacher: ResolvedTeacher, patience_s: float) -> Any:
    try:
        ref = await asyncio.wait_for(response._to_object_ref(), TAKE_S)
    except TimeoutError as error:
        raise TeacherUnavailable(
            f"no replica of {teacher.reference} has taken the window within {TAKE_S:g} s: ask again"
        ) from error
    try:
        return await asyncio.wait_for(_value(ref), patience_s)
    except TimeoutError as error:
        raise TeacherUnavailable(
            f"a replica of {teacher.reference} took the window and said nothing for {patience_s:.0f} s: ask again"
        ) from error


async def _value(ref: Any) -> Any:
    return await ref


def _in_replica(error: RayTaskError, teacher: ResolvedTeacher) -> Exception:
    cause: Exception = error.cause
    if isinstance(cause, StillhouseError):
        return cause
    if isinstance(cause, RayError | RayServeException) and type(cause) is not RayError:
        return TeacherUnavailable(f"a replica of {teacher.reference} failed: {type(cause).__name__}")
    return cause
