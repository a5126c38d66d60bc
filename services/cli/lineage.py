"""The command that shows where a student or a teacher comes from, and what came of it."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from distill.contracts.errors import NotFound
from distill.contracts.lineage import JobLineage, JobLink, JobLinks, MemberLink, VersionLineage, VersionLink
from services.cli.call import client_of, job_of
from services.cli.screen import Json, console, show_json

if TYPE_CHECKING:
    from rich.tree import Tree

    from services.client.client import StillhouseClient

MOST_SHOWN = 10
"""Of one kind, below one branch."""
DEPTH = 2

Lineage = JobLineage | VersionLineage
Ask = Callable[[str], Lineage]
"""The lineage of a job, or of a ``name@version``."""


class Branch(NamedTuple):
    """A line of the tree."""

    text: str
    goes_on: str | None = None
    """The job or ``name@version`` that the tree goes on with."""


Step = Callable[[Lineage], Iterator[Branch]]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel="Jobs and studies")(lineage)


def lineage(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="ID|NAME@VERSION", help="A job, or a version of a teacher; a study's student.")
    ],
    depth: Annotated[int, typer.Option(min=1, max=4, help="Steps in each direction.")] = DEPTH,
    as_json: Json = False,
) -> None:
    """Show where a student or a teacher comes from, and what came of it: `stillhouse lineage fashion@3`.

    What is another team's is left out. With --json: one step in each direction.
    """
    with client_of(context, as_json=as_json) as client:
        start = _version_of(client, what) if "@" in what else job_of(client, what).id

        @cache
        def ask(node: str) -> Lineage:
            name, _, version = node.partition("@")
            return client.version_lineage(name, int(version)) if version else client.job_lineage(name)

        found = ask(start)
        if as_json:
            show_json(found)
            return
        typer.echo(_title(found))
        for heading, step in (("comes from", origins), ("led to", outcomes)):
            _show(heading, start, step, ask, depth)


def origins(found: Lineage) -> Iterator[Branch]:
    """One line for each thing that it comes from."""
    if isinstance(found, VersionLineage):
        yield from map(_member, range(len(found.members)), found.members)
        return
    yield from (_of_version("taught by", one) for one in found.taught_by)
    yield from (_of_job("begins from", one) for one in found.begins_from)
    if found.generation_before is not None:
        yield _of_job("the generation after", found.generation_before)


def outcomes(found: Lineage) -> Iterator[Branch]:
    """One line for each thing that came of it."""
    if isinstance(found, VersionLineage):
        rest = f"more of them: stillhouse jobs --teacher {found.version.reference}"
        yield from _some([_of_job("taught", one) for one in found.students.items], found.students.more, rest)
        return
    published = [_of_version("a member of", one) for one in found.published_as.items]
    yield from _some(published, found.published_as.more, "and more versions")
    yield from _some_jobs("where begins", found.begun)
    yield from _some_jobs("the generation before", found.generations_after)


def _show(heading: str, start: str, step: Step, ask: Ask, depth: int) -> None:
    from rich.tree import Tree

    tree = Tree(heading)
    _grow(tree, start, step, ask, depth)
    if not tree.children:
        tree.add("nothing that is known" if step is origins else "nothing yet")
    console().print(tree)


def _grow(tree: "Tree", node: str, step: Step, ask: Ask, depth: int) -> None:
    from rich.text import Text

    for branch in step(ask(node)):
        below = tree.add(Text(branch.text))
        if depth > 1 and branch.goes_on is not None:
            _grow(below, branch.goes_on, step, ask, depth - 1)


def _version_of(client: "StillhouseClient", reference: str) -> str:
    name, _, wanted = reference.partition("@")
    if wanted.isdecimal():
        return f"{name}@{int(wanted)}"
    aliases = client.teacher(name).aliases
    if wanted not in aliases:
        known = ", ".join(sorted(aliases)) or "none"
        raise NotFound(
            f"teacher {name} has no alias {wanted!r}", got=reference, expected=f"a version, or one of: {known}"
        )
    return f"{name}@{aliases[wanted]}"


def _title(found: Lineage) -> str:
    if isinstance(found, VersionLineage):
        return f"teacher {found.version.reference}, {_state(found.version)}"
    beside = ", ".join(f"{one.id}, {_state(one)}" for one in found.baselines)
    study = f"; {found.role} of study {found.study}" if found.study else ""
    return f"job {found.job.id}, {_state(found.job)}{study}{f', compared with {beside}' if beside else ''}"


def _member(place: int, member: MemberLink) -> Branch:
    if member.job is not None:
        epoch = "" if member.epoch is None else f" after epoch {member.epoch}"
        return _of_job(f"member {place}: the student{epoch} of", member.job)
    return Branch(f"member {place}: " + (f"the file {member.file}" if member.file else "another team's"))


def _of_job(how: str, job: JobLink) -> Branch:
    return Branch(f"{how} job {job.id}, {_state(job)}", job.id if job.state is not None else None)


def _of_version(how: str, version: VersionLink) -> Branch:
    return Branch(
        f"{how} {version.reference}, {_state(version)}", version.reference if version.state is not None else None
    )


def _state(link: JobLink | VersionLink) -> str:
    if link.state is not None:
        return link.state.value
    return "deleted" if isinstance(link, JobLink) else "hidden by its team"


def _some_jobs(how: str, links: JobLinks) -> Iterator[Branch]:
    return _some([_of_job(how, one) for one in links.items], links.more, "and more jobs")


def _some(branches: Sequence[Branch], more: bool, rest: str) -> Iterator[Branch]:
    yield from islice(branches, MOST_SHOWN)
    if more or len(branches) > MOST_SHOWN:
        yield Branch(rest)
