"""What a key lets one do: a router says which scopes its routes need, and a thing belongs to the team that made it.

Another team's job, study, reservation or hidden teacher is answered as one that isn't there, by every route that names it
in its path as ``{job}``, ``{study}``, ``{reservation}`` or ``{teacher}``.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from fastapi import Depends, Request
from fastapi.params import Depends as Needed

from distill.contracts.errors import Forbidden
from distill.contracts.keys import Scope
from services.control_plane.context import Caller, Context, Parts, Who
from services.control_plane.reservations import no_reservation
from services.control_plane.store import no_such

READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True)
class Guard:
    """Lets a request through that its key allows, to things that its team may know."""

    reads: Scope
    """What GET needs."""
    changes: Scope
    """What every other method needs."""

    def scope_of(self, method: str) -> Scope:
        """What a request with this method needs."""
        return self.reads if method in READING else self.changes

    async def __call__(self, request: Request, who: Who, parts: Parts) -> None:
        """See that it may.

        Raises:
            Forbidden: the key lacks the scope, or a teacher belongs to another team.
            NotFound: the thing is not there, or not the team's.
        """
        check_scope(who, self.scope_of(request.method))
        for name, check in CHECKS.items():
            if name in request.path_params:
                await check(parts, who, request.path_params[name], request.method in READING)


def guarded_by(*, reads: Scope, changes: Scope) -> list[Needed]:
    """The dependencies of a router whose routes need these scopes."""
    return [Depends(Guard(reads, changes))]


def check_scope(who: Caller, scope: Scope) -> None:
    """See that the key has it. Raises Forbidden."""
    if not who.may(scope):
        raise Forbidden(
            f"this needs an API key with the scope '{scope}', and {who.key} has {', '.join(who.scopes)}",
            expected=scope,
            got=", ".join(who.scopes),
            hint="an admin makes keys: `stillhouse keys create NAME --scope ...`",
        )


async def _job(parts: Context, who: Caller, job: str, _: bool) -> None:
    if (await parts.store.job(job)).team != who.team:
        raise no_such("job", job)


async def _study(parts: Context, who: Caller, study: str, _: bool) -> None:
    if (await parts.store.study(study)).team != who.team:
        raise no_such("study", study)


async def _reservation(parts: Context, who: Caller, reservation: str, _: bool) -> None:
    if (await parts.reservations.read(reservation)).team != who.team:
        raise no_reservation(reservation)


async def _teacher(parts: Context, who: Caller, name: str, reads: bool) -> None:
    teacher = await parts.store.teacher(name)
    if not teacher.is_visible_to(who.team):
        raise no_such("teacher", name)
    if not reads and teacher.team != who.team:
        raise Forbidden(
            f"teacher {name} belongs to team {teacher.team}, which alone publishes, names and deletes its versions",
            got=who.team,
            expected=teacher.team,
        )


CHECKS: Mapping[str, Callable[[Context, Caller, str, bool], Awaitable[None]]] = {
    "job": _job, "study": _study, "reservation": _reservation, "teacher": _teacher,
}  # fmt: skip
"""Name of a part of the path -> who sees that the caller's team may have what it names."""
