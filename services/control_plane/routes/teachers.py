"""``/v1/teachers``: name a teacher, publish versions of it, move aliases."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response

from distill.contracts.base import now
from distill.contracts.errors import Conflict, NotFound
from distill.contracts.facts import AliasMoved, VersionCreated, VersionDeleted
from distill.contracts.lineage import VersionLineage
from distill.contracts.teachers import (
    Alias,
    TeacherRecord,
    TeacherSpec,
    TeacherVersion,
    TeacherVersionSpec,
    TeacherVersionState,
)
from services.control_plane import examples
from services.control_plane.access import guarded_by
from services.control_plane.context import AskedOnce, Context, Parts, Who
from services.control_plane.lineage import Lineage
from services.control_plane.once import Kept, in_progress
from services.control_plane.problems import documented
from services.control_plane.registry import find_version, uses_of
from services.control_plane.views import AliasTarget, TeacherList

router = APIRouter(prefix="/v1/teachers", tags=["teachers"], dependencies=guarded_by(reads="read", changes="publish"))

TRIES = 5

Named = Annotated[str, Path(alias="teacher")]
"""A teacher's name."""


@router.post("", status_code=201, response_model=TeacherRecord, responses=documented(409))
async def create(spec: TeacherSpec, parts: Parts, who: Who, asked: AskedOnce) -> Response:
    """Name a teacher; versions of it are published next."""

    async def make(ticket: Kept) -> Kept:
        moment = now()
        teacher = TeacherRecord(
            name=spec.name, team=who.team, visibility=spec.visibility, description=spec.description, created_at=moment,
            updated_at=moment,
        )  # fmt: skip
        answer = ticket.answered(201, teacher, location=f"/v1/teachers/{teacher.name}")
        await parts.store.create_teacher(teacher, answer=answer)
        return answer

    return await parts.once.answer(asked, who.team, make)


@router.get("", responses=documented())
async def list_teachers(parts: Parts, who: Who) -> TeacherList:
    """The team's teachers and those that are shared, with their versions and aliases."""
    return TeacherList(items=[one for one in await parts.store.teachers() if one.is_visible_to(who.team)])


@router.get("/{teacher}", responses=documented(404))
async def read(name: Named, parts: Parts) -> TeacherRecord:
    """One teacher, with its versions and aliases."""
    return await parts.store.teacher(name)


@router.post("/{teacher}/versions", status_code=202, response_model=TeacherVersion, responses=documented(404, 409))
async def publish(
    name: Named,
    spec: Annotated[TeacherVersionSpec, Body(openapi_examples=examples.VERSIONS)],
    parts: Parts,
    who: Who,
    asked: AskedOnce,
) -> Response:
    """Make the next version, from finished jobs or from files; it is CHECKING until a process has tried it."""

    async def make(ticket: Kept) -> Kept:
        submission = await parts.submission(who)
        for _ in range(TRIES):
            number = len((await parts.store.teacher(name)).versions) + 1
            version = await submission.version(spec, number=number)
            answer = ticket.answered(202, version, location=f"/v1/teachers/{name}/versions/{number}")
            fact = VersionCreated(version=version, at=version.created_at)
            await parts.store.append("teacher", name, fact, answer=answer)
            stored = (await parts.store.teacher(name)).versions[number - 1 : number]
            if not stored:
                raise in_progress()  # the fact was dropped: the request was thought dead
            if stored[0].created_at == version.created_at:
                parts.reconciler.wake()
                return answer
        raise Conflict(f"others publish versions of {name} at the same time; try again")

    return await parts.once.answer(asked, who.team, make)


@router.get("/{teacher}/versions/{version}", responses=documented(404))
async def read_version(name: Named, version: int, parts: Parts) -> TeacherVersion:
    """One version: its state, and its manifest once it is READY."""
    return await _version(parts, name, version)


@router.get("/{teacher}/versions/{version}/lineage", responses=documented(404))
async def lineage(name: Named, version: int, parts: Parts, who: Who) -> VersionLineage:
    """What its members were made of, and the newest 100 of the team's jobs that learned from it.

    `GET /v1/jobs?teacher=name@version` pages through all of these. What is another team's is left out.
    """
    record, found = await parts.store.teacher(name), await _version(parts, name, version)
    return await Lineage(parts.store, parts.redis).of_version(record, found, team=who.team)


@router.delete("/{teacher}/versions/{version}", status_code=204, responses=documented(404, 409))
async def delete_version(name: Named, version: int, parts: Parts) -> None:
    """Take a version away that no alias, living job or reservation uses; its number is never given again."""
    record, found = await parts.store.teacher(name), await _version(parts, name, version)
    if found.state is TeacherVersionState.DELETED:
        return
    jobs = await parts.store.jobs(await parts.store.active("job"))
    if uses := uses_of(record, version, jobs, await parts.reservations.living()):
        raise Conflict(
            f"{name}@{version} is used by {', '.join(uses)}", got=", ".join(uses), expected="a version that nobody uses"
        )
    await parts.store.append("teacher", name, VersionDeleted(version=version, at=now()))
    state = (await _version(parts, name, version)).state
    if state is not TeacherVersionState.DELETED:
        raise Conflict(f"{name}@{version} is {state.value}, or an alias has just moved there", got=state.value)


@router.put("/{teacher}/aliases/{alias}", responses=documented(404, 409))
async def move_alias(name: Named, alias: Alias, target: AliasTarget, parts: Parts) -> TeacherRecord:
    """Let ``name@alias`` mean a READY version, if it means now what is ``expected``; jobs made before keep what they resolved."""
    version = await _version(parts, name, target.version)
    if version.state is not TeacherVersionState.READY:
        raise Conflict(
            f"{name}@{target.version} is {version.state.value}; an alias points at a READY version", field="version"
        )
    fact = AliasMoved(alias=alias, version=target.version, expected=target.expected, at=now())
    await parts.store.append("teacher", name, fact)
    teacher = await parts.store.teacher(name)
    means = teacher.aliases.get(alias, 0)
    if means != target.version:
        raise Conflict(
            f"{name}@{alias} means {f'version {means}' if means else 'nothing'} now, so it was not moved",
            field="expected",
            got=str(means),
            expected=str(target.expected),
        )
    return teacher


async def _version(parts: Context, name: str, number: int) -> TeacherVersion:
    try:
        return find_version(await parts.store.teacher(name), number)
    except KeyError as error:
        raise NotFound(f"teacher {name} has no version {number}", got=str(number)) from error
