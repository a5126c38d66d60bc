"""Commands for jobs, and for what jobs and studies have in common."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from distill.contracts.errors import InvalidSpec, NotFound
from distill.contracts.labels import read_labels
from distill.contracts.records import JobRecord, JobState
from distill.contracts.study import StudySpec
from services.cli.call import client_of, how_told, job_of, kind_of
from services.cli.exit_codes import INTERRUPTED
from services.cli.narrowing import Since, WithLabel, moment_of
from services.cli.screen import Json, ago, say, show_json, show_line, show_markdown, show_table

if TYPE_CHECKING:
    from services.client.client import Kind, StillhouseClient
    from services.control_plane.views import StudyView

Identity = Annotated[str, typer.Argument(metavar="ID", help="A job or a study.")]
JobIdentity = Annotated[str, typer.Argument(metavar="ID", help="A job; a study stands for its student.")]
PANEL = "Jobs and studies"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (plan, submit, watch, jobs, job, logs, pause, resume, cancel, delete, priority, report, download):
        app.command(rich_help_panel=PANEL)(command)


def plan(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As for `submit`.")],
    as_json: Json = False,
) -> None:
    """Say what would become of a job or a study, and start nothing.

    What `submit` would refuse is refused with the same words. Else: what it takes of the cluster and of its teachers, its
    place in the queue, what is left of its team's quotas, and what only the attempt can tell once it has the data.
    """
    from services.cli.files import load_spec
    from services.cli.plans import plan_card

    spec = load_spec(file)
    with client_of(context, as_json=as_json) as client:
        found = client.plan(spec)
    if as_json:
        show_json(found)
        return
    typer.echo("\n".join(plan_card(found)))


def submit(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A job or study file; one with a key 'job' is a study.")],
    follow: Annotated[bool, typer.Option("--watch", help="Watch it until it ends.")] = False,
    as_json: Json = False,
) -> None:
    """Submit a job or a study, and print its ID.

    The file is checked here first: an error names the line, the field, what came and what was expected.

    - `stillhouse submit examples/fashion-study.yaml --watch`
    - `id=$(stillhouse submit job.yaml)`, then `stillhouse watch $id && stillhouse download $id`

    With --json and --watch: the record on one line, then a line for each event.
    """
    from services.cli.files import load_spec

    spec = load_spec(file)
    with client_of(context, as_json=as_json) as client:
        view = client.submit_study(spec) if isinstance(spec, StudySpec) else client.submit_job(spec)
        kind, identity = _name(view)
        if as_json:
            (show_line if follow else show_json)(view)
        elif follow:
            say(f"{kind} {identity}")
        else:
            say(f"submitted; follow it with `stillhouse watch {identity}`")
            typer.echo(identity)
        if follow:
            raise typer.Exit(_watch(client, kind, identity, as_json=as_json))


def watch(context: typer.Context, identity: Identity, as_json: Json = False) -> None:
    """Show what a job or a study does until it ends: events, progress, and why it waits.

    Ctrl-C stops watching, not the job. Ends with 0 if all went well, 1 if a job failed or was cancelled.
    """
    with client_of(context, as_json=as_json) as client:
        raise typer.Exit(_watch(client, kind_of(client, identity), identity, as_json=as_json))


def jobs(
    context: typer.Context,
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.", case_sensitive=False)] = None,
    study: Annotated[str | None, typer.Option(help="Only the jobs of this study.")] = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="NAME@N", help="Only those that learn from this version.")
    ] = None,
    label: WithLabel = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first: `stillhouse jobs --state running --label owner=ada --since 2h`."""
    with client_of(context, as_json=as_json) as client:
        labels, after = read_labels(label or [], field="--label"), moment_of(since)
        wanted = client.jobs(state=state, study=study, teacher=teacher, labels=labels, created_after=after)
        found = list(islice(wanted, limit))
    if as_json:
        show_json(found)
        return
    show_table(
        ("ID", "STATE", "ROLE", "EPOCHS", "CREATED", "WHY"),
        ((job.id, job.state, job.role, _epochs(job), ago(job.created_at), job.reason.text) for job in found),
    )


def job(context: typer.Context, identity: JobIdentity, as_json: Json = False) -> None:
    """Show one job: its state and why, its attempts, what it learns from."""
    with client_of(context, as_json=as_json) as client:
        found = job_of(client, identity)
        if as_json:
            show_json(found)
            return
        told = how_told(client, "job", found.id, found.spec.notify)
    from services.cli.cards import job_card

    typer.echo("\n".join(job_card(found, told)))


def logs(
    context: typer.Context,
    identity: JobIdentity,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    attempt: Annotated[int | None, typer.Option(min=1, help="Left out: the newest.")] = None,
    as_json: Json = False,
) -> None:
    """Print what a job's driver and workers wrote; kept after the cluster is gone. With --json: one page a line."""
    with client_of(context, as_json=as_json) as client:
        found = job_of(client, identity)
        if as_json:
            for page in client.log_pages(found.id, attempt=attempt, follow=follow):
                show_line(page)
            return
        if not found.attempts and not follow:
            say(f"{found.id} has not started: {found.state}, {found.reason.text}")
            return
        texts = client.follow_log(found.id, attempt=attempt) if follow else client.log(found.id, attempt=attempt)
        for text in texts:
            typer.echo(text, nl=False)


def cancel(context: typer.Context, identity: Identity, as_json: Json = False) -> None:
    """Ask a job, or all jobs of a study, to end; its last checkpoint stays in storage. Twice does no harm."""
    with client_of(context, as_json=as_json) as client:
        kind = kind_of(client, identity)
        view = client.cancel_study(identity) if kind == "study" else client.cancel_job(identity)
    _show_state(kind, identity, view, as_json=as_json)


def delete(context: typer.Context, identity: Identity, as_json: Json = False) -> None:
    """Forget a job, or a study with its jobs, that has ended: records, logs, checkpoints and artifacts are gone for good.

    What a teacher was made of, or another job begins from, is kept: the answer says what needs it.
    """
    with client_of(context, as_json=as_json) as client:
        kind = kind_of(client, identity)
        (client.delete_study if kind == "study" else client.delete_job)(identity)
    if as_json:
        show_json({"deleted": identity})
    else:
        say(f"{kind} {identity} is deleted")


def pause(context: typer.Context, identity: Identity, as_json: Json = False) -> None:
    """Let a job, or all jobs of a study, save a checkpoint and give their resources back. Twice does no harm."""
    with client_of(context, as_json=as_json) as client:
        kind = kind_of(client, identity)
        view = client.pause_study(identity) if kind == "study" else client.pause_job(identity)
    _show_state(kind, identity, view, as_json=as_json)


def resume(context: typer.Context, identity: Identity, as_json: Json = False) -> None:
    """Let a paused job, or all paused jobs of a study, go on from their checkpoints when their turn comes."""
    with client_of(context, as_json=as_json) as client:
        kind = kind_of(client, identity)
        view = client.resume_study(identity) if kind == "study" else client.resume_job(identity)
    _show_state(kind, identity, view, as_json=as_json)


def priority(
    context: typer.Context,
    identity: Identity,
    number: Annotated[
        int, typer.Argument(metavar="N", min=-100, max=100, help="Higher ones start first; 0 where nothing is said.")
    ],
    as_json: Json = False,
) -> None:
    """Let a job, or all jobs of a study that have not ended, start sooner or later than others of one's team.

    What runs goes on as it is. Before a negative number write two hyphens: `stillhouse priority ID -- -10`.
    """
    with client_of(context, as_json=as_json) as client:
        if kind_of(client, identity) == "job":
            changed = [client.set_priority(identity, number)]
        else:
            living = [job for job in client.study(identity).children.values() if not job.state.is_final]
            changed = [client.set_priority(job.id, number) for job in living]
    if as_json:
        show_json(changed)
        return
    for one in changed:
        typer.echo(f"job {one.id} has priority {one.priority}: {one.reason.text}")


def report(
    context: typer.Context,
    identity: Identity,
    form: Annotated[
        Literal["markdown", "json"], typer.Option("--format", help="Markdown is rendered on a terminal.")
    ] = "markdown",
    as_json: Json = False,
) -> None:
    """Print the report: what was gained or lost, and what it cost. `stillhouse report ID > review.md` pastes well."""
    with client_of(context, as_json=as_json) as client:
        kind = kind_of(client, identity)
        if as_json or form == "json":
            show_json(client.report(kind, identity))
        else:
            show_markdown(client.report_markdown(kind, identity))


def download(
    context: typer.Context,
    identity: JobIdentity,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these files; left out: all.")
    ] = None,
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="Left out: a folder named like the job.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch what a finished job left: weights, exported program, model card. Each file's digest is checked.

    Broken off, the same command goes on where it stopped. `stillhouse download ID model.safetensors --to models/`
    """
    with client_of(context, as_json=as_json) as client:
        found = job_of(client, identity)
        artifacts = client.artifacts(found.id)
        there = {artifact.name for artifact in artifacts}
        for name in names or ():
            if name not in there:
                raise NotFound(
                    f"job {found.id} left no {name!r}", expected="one of " + ", ".join(sorted(there)), got=name
                )
        wanted = [artifact for artifact in artifacts if not names or artifact.name in names]
        folder = to or Path(found.id)
        try:
            files = [client.download(found.id, artifact, folder) for artifact in wanted]
        except OSError as error:
            raise InvalidSpec(
                f"--to: nothing can be written into {folder}: {error.strerror}", got=str(folder), expected="a folder"
            ) from error
    if as_json:
        show_json({"files": [str(file) for file in files]})
        return
    for file in files:
        typer.echo(str(file))


def _watch(client: "StillhouseClient", kind: "Kind", identity: str, *, as_json: bool) -> int:
    from services.cli.watch import watch_as_json, watch_on_screen

    try:
        return watch_as_json(client, kind, identity) if as_json else watch_on_screen(client, [(kind, identity)])
    except KeyboardInterrupt:
        say(f"stopped watching; the {kind} goes on")
        say(f"`stillhouse watch {identity}` looks again, `stillhouse cancel {identity}` ends it")
        return INTERRUPTED


def _show_state(kind: "Kind", identity: str, view: "JobRecord | StudyView", *, as_json: bool) -> None:
    if as_json:
        show_json(view)
    else:
        typer.echo(f"{kind} {identity} is {view.state}")


def _name(view: "JobRecord | StudyView") -> "tuple[Kind, str]":
    return ("job", view.id) if isinstance(view, JobRecord) else ("study", view.study.id)


def _epochs(job: JobRecord) -> str:
    return f"{job.num_epochs}/{job.spec.training.epochs}"
