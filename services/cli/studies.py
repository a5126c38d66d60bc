"""Commands for studies: a job, and what it is compared with."""

from itertools import islice
from typing import Annotated

import typer

from distill.contracts.labels import read_labels
from distill.contracts.records import JobState, StudyRecord
from services.cli.call import client_of, how_told, or_suggest
from services.cli.narrowing import Since, WithLabel, moment_of
from services.cli.screen import Json, ago, show_json, show_table

FEW = 4
"""So many jobs are named one by one."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (studies, study):
        app.command(rich_help_panel="Jobs and studies")(command)


def studies(
    context: typer.Context,
    state: Annotated[JobState | None, typer.Option(help="Only studies in this state.", case_sensitive=False)] = None,
    label: WithLabel = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """List studies, the newest first."""
    with client_of(context, as_json=as_json) as client:
        labels, after = read_labels(label or [], field="--label"), moment_of(since)
        found = list(islice(client.studies(state=state, labels=labels, created_after=after), limit))
    if as_json:
        show_json(found)
        return
    rows = ((one.study.id, one.state, _jobs(one.study), ago(one.study.created_at)) for one in found)
    show_table(("ID", "STATE", "JOBS", "CREATED"), rows)


def study(
    context: typer.Context,
    identity: Annotated[str, typer.Argument(metavar="ID", help="A study.")],
    as_json: Json = False,
) -> None:
    """Show one study and its jobs."""
    with client_of(context, as_json=as_json) as client:
        found = or_suggest(client, identity, lambda: client.study(identity))
        if as_json:
            show_json(found)
            return
        told = how_told(client, "study", identity, found.study.spec.notify)
    from services.cli.cards import study_card

    typer.echo("\n".join(study_card(found, told)))


def _jobs(study: StudyRecord) -> str:
    """Their names, or their numbers where the names would fill the line."""
    if len(study.jobs) <= FEW:
        return ", ".join(study.jobs)
    return f"{len(study.keys_of('student'))} students, {len(study.keys_of('baseline'))} baselines"
