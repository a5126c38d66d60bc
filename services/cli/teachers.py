"""Commands for teachers: name one, publish versions of it, move aliases."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distill.contracts.errors import Conflict, InvalidSpec
from distill.contracts.teachers import (
    MemberFromFile,
    MemberFromJob,
    MemberSource,
    TeacherSpec,
    TeacherVersion,
    TeacherVersionSpec,
    TeacherVersionState,
)
from services.cli.call import client_of
from services.cli.exit_codes import JOB_FAILED
from services.cli.screen import Json, say, show_json, show_table

if TYPE_CHECKING:
    from services.client.client import StillhouseClient

Teacher = Annotated[str, typer.Argument(metavar="NAME", help="A teacher.")]
POLL_S = 0.5

teachers = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(teachers, name="teachers", rich_help_panel="Teachers")


@teachers.callback()
def about() -> None:
    """Teachers of the pool: name one, publish versions of it, move aliases.

    - `stillhouse teachers publish fashion --job member-0-k3f9a2 --job member-1-c8d3e4 --alias prod`
    - then, in a job file: `teachers: [{name: fashion@prod}]`
    """


@teachers.command("list")
def list_all(context: typer.Context, as_json: Json = False) -> None:
    """List teachers, their aliases and versions."""
    with client_of(context, as_json=as_json) as client:
        found = client.teachers()
    if as_json:
        show_json(found)
        return
    show_table(
        ("NAME", "VERSIONS", "ALIASES", "DESCRIPTION"),
        (
            (
                teacher.name,
                ", ".join(f"{version.version} {version.state}" for version in teacher.versions) or "none",
                ", ".join(f"{alias} -> {number}" for alias, number in sorted(teacher.aliases.items())) or "none",
                teacher.description,
            )
            for teacher in found
        ),
    )


@teachers.command()
def show(context: typer.Context, name: Teacher, as_json: Json = False) -> None:
    """Show one teacher: versions, members, what the check found."""
    from services.cli.cards import teacher_card

    with client_of(context, as_json=as_json) as client:
        found = client.teacher(name)
    if as_json:
        show_json(found)
    else:
        typer.echo("\n".join(teacher_card(found)))


@teachers.command()
def create(
    context: typer.Context,
    name: Teacher,
    description: Annotated[str, typer.Option(help="What it knows, for people.")] = "",
    visibility: Annotated[str, typer.Option(help="Who may learn from it: `shared`, or `team` alone.")] = "shared",
    as_json: Json = False,
) -> None:
    """Name a teacher, which is then your team's; `publish` does it too."""
    spec = _teacher_spec(name, description, visibility)
    with client_of(context, as_json=as_json) as client:
        made = client.create_teacher(spec)
    if as_json:
        show_json(made)
    else:
        say(f"teacher {made.name} has no version yet: `stillhouse teachers publish {made.name} ...`")


@teachers.command()
def publish(
    context: typer.Context,
    name: Teacher,
    job: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A finished job whose student becomes a member.")
    ] = None,
    trajectory: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="A finished job with training.snapshots: each of them becomes a member, in the order of their epochs.",
        ),
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="A safetensors file, below the server's data root.")
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="What the weights fit, one for each --weights: YAML or JSON with model, input, classes.",
        ),
    ] = None,
    alias: Annotated[str | None, typer.Option(help="Let NAME@ALIAS mean this version once it is READY.")] = None,
    resources: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help='What a replica takes and how many there may be, such as \'{"num_gpus": 1, "max_replicas": 4}\'.',
        ),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until its check has passed or failed.")] = True,
    as_json: Json = False,
) -> None:
    """Make a version of a teacher, an ensemble if it has several members; names the teacher if it is new.

    - from finished jobs: `stillhouse teachers publish fashion --job a-1 --job b-2 --job c-3 --alias prod`
    - from files: `stillhouse teachers publish own --weights own/net.safetensors --model net.yaml`
    - one run's way, epoch after epoch: `stillhouse teachers publish way --trajectory a-1`;
      a student follows it with `ensemble: {members: {kind: in_order}}` in its job file

    The check runs the members and measures them; a version that doesn't pass is REJECTED, and the exit code is 1.
    """
    named = [*_from_jobs(job or []), *_from_files(weights or [], model or [])]
    _check_members(named, trajectory)
    with client_of(context, as_json=as_json) as client:
        members = named if trajectory is None else _along(client, trajectory)
        spec = _version_spec(members, alias=alias, resources=resources)
        ensure_named(client, _teacher_spec(name))
        made = client.publish(name, spec)
        if wait:
            say(f"{name}@{made.version} is being checked")
            made = wait_for_check(client, name, made.version)
    if as_json:
        show_json(made)
    else:
        _tell(name, made)
    if made.state is TeacherVersionState.REJECTED:
        raise typer.Exit(JOB_FAILED)


@teachers.command("alias")
def move_alias(
    context: typer.Context,
    name: Teacher,
    alias: Annotated[str, typer.Argument(metavar="ALIAS")],
    version: Annotated[int, typer.Argument(metavar="VERSION", min=1)],
    expected: Annotated[
        int | None,
        typer.Option(
            metavar="VERSION", min=0, help="What it must mean until now; 0: nothing. Left out: whatever it does."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Let NAME@ALIAS mean a version; jobs that are there already keep theirs."""
    with client_of(context, as_json=as_json) as client:
        moved = client.move_alias(name, alias, version, expected=expected)
    if as_json:
        show_json(moved)
    else:
        say(f"{name}@{alias} now means version {version}")


@teachers.command("delete")
def delete_version(
    context: typer.Context,
    name: Teacher,
    version: Annotated[int, typer.Argument(metavar="VERSION", min=1)],
    as_json: Json = False,
) -> None:
    """Take a version away that no alias, living job or reservation uses; its number is never given again."""
    with client_of(context, as_json=as_json) as client:
        client.delete_version(name, version)
        found = client.teacher_version(name, version)
    if as_json:
        show_json(found)
    else:
        say(f"{name}@{version} is {found.state}")


def wait_for_check(client: "StillhouseClient", name: str, version: int) -> TeacherVersion:
    """The version once it is READY or REJECTED."""
    import time

    while True:
        found = client.teacher_version(name, version)
        if found.state is not TeacherVersionState.CHECKING:
            return found
        time.sleep(POLL_S)


def ensure_named(client: "StillhouseClient", spec: TeacherSpec) -> None:
    """Create the teacher, unless it is there."""
    try:
        client.create_teacher(spec)
    except Conflict:
        return


def _teacher_spec(name: str, description: str = "", visibility: str = "shared") -> TeacherSpec:
    from services.cli.files import as_adapter, validated

    fields = {"name": name, "description": description, "visibility": visibility}
    made: TeacherSpec = validated(as_adapter(TeacherSpec), fields, where="teacher")
    return made


def _from_jobs(jobs: list[str]) -> list[MemberSource]:
    return [MemberFromJob(job=job) for job in jobs]


def _from_files(weights: list[str], models: list[Path]) -> list[MemberSource]:
    if len(weights) != len(models):
        raise InvalidSpec(
            "each --weights needs its own --model", field="model", got=f"{len(models)}", expected=f"{len(weights)}"
        )
    return [_member(path, model) for path, model in zip(weights, models, strict=True)]


def _check_members(named: list[MemberSource], trajectory: str | None) -> None:
    if named and trajectory is not None:
        raise InvalidSpec(
            "--trajectory makes a version of one job's snapshots alone: leave --job and --weights out",
            field="trajectory",
        )
    if not named and trajectory is None:
        raise InvalidSpec(
            "a version needs members: give --job ID, --trajectory ID, or --weights FILE with --model FILE",
            field="members",
        )


def _along(client: "StillhouseClient", job: str) -> list[MemberSource]:
    """The snapshots of a job as members, from its first epoch to its last."""
    snapshots = client.snapshots(job)
    if not snapshots:
        raise InvalidSpec(
            f"job {job} kept no weights of its way",
            field="trajectory",
            got=job,
            expected="a job with training.snapshots",
            hint="give the job file training.snapshots, such as 8, and submit it again",
        )
    epochs = sorted(snapshot.epoch for snapshot in snapshots)
    say(f"{job} kept its weights after epochs {', '.join(str(epoch) for epoch in epochs)}")
    return [MemberFromJob(job=job, epoch=epoch) for epoch in epochs]


def _version_spec(members: list[MemberSource], *, alias: str | None, resources: str | None) -> TeacherVersionSpec:
    from services.cli.files import as_adapter, validated

    fields = {"members": members, "resources": _resources(resources), "alias": alias}
    made: TeacherVersionSpec = validated(as_adapter(TeacherVersionSpec), fields, where="version")
    return made


def _member(weights: str, model: Path) -> MemberFromFile:
    from services.cli.files import as_adapter, load_yaml, validated

    value, root = load_yaml(model)  # JSON is YAML too
    if not isinstance(value, dict):
        raise InvalidSpec(f"{model} doesn't describe a model", expected="a mapping with model, input and classes")
    # a model card of ours says one thing more
    fields = {key: item for key, item in value.items() if key != "weights_digest"}
    adapter = as_adapter(MemberFromFile)
    made: MemberFromFile = validated(
        adapter, {"source": "file", "path": weights, **fields}, where=str(model), root=root
    )
    return made


def _resources(text: str | None) -> object:
    try:
        return json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise InvalidSpec(f"--resources is not JSON: {error}", field="resources", got=text) from error


def _tell(name: str, version: TeacherVersion) -> None:
    from services.cli.cards import version_lines

    typer.echo(f"{name}@{version.version}")
    for line in version_lines(version):
        say(line)
