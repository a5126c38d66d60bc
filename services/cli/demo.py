"""`stillhouse demo`: the main job from nothing to its report, on this machine, and nothing left running."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from distill.contracts.errors import InvalidData, InvalidSpec, StillhouseError
from distill.contracts.job import JobSpec
from distill.contracts.study import StudySpec
from distill.contracts.teachers import MemberFromJob, TeacherSpec, TeacherVersionSpec, TeacherVersionState
from services.cli.exit_codes import INTERRUPTED, OK
from services.cli.screen import console, duration, say, show_markdown, show_table
from services.stack.settings import StackSettings

if TYPE_CHECKING:
    from services.client.client import StillhouseClient
    from services.stack.stack import Stack

SHIPPED = Path(__file__).parents[2] / "examples" / "demo"
NUM_MEMBERS = 3
DATA_TIMEOUT_S = 180.0
Data = Literal["fashion", "digits"]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel="This machine")(demo)


def demo(
    files: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The job files; left out: examples/demo of this checkout.")
    ] = None,
    data: Annotated[
        Literal["auto", "fashion", "digits"], typer.Option(help="auto: Fashion-MNIST where it can be had, else digits.")
    ] = "auto",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the control plane; 0 takes any free one.")] = 0,
) -> None:
    """See it all at once, in about four minutes on two cores: starts everything, and stops everything at the end.

    One team trains three networks on 30,000 labelled images, and publishes them as one teacher. Another team has other
    images, and labels for 1,000 of them: its student learns from the teacher's answers. The report says what that was worth.
    """
    from services.cli.signals import stops_once

    with stops_once():
        try:
            code = _Demo(files or SHIPPED, data, port).run()
        except KeyboardInterrupt:
            say("interrupted; everything that the demo started is stopped")
            code = INTERRUPTED
    raise typer.Exit(code)


class _Demo:
    """The demo's acts in order; each is timed."""

    def __init__(self, files: Path, data: Literal["auto", "fashion", "digits"], port: int) -> None:
        self._files = files
        self._asked = data
        self._port = port
        self._begun = time.monotonic()
        self._times: dict[str, float] = {}
        everyday = StackSettings.from_environment()
        own = {
            "home": everyday.home / "demo",
            "cache": everyday.cache or everyday.home / "cache",
            "redis_url": None,  # never one that others use: the demo cancels what it finds unfinished
        }
        self._settings = everyday.model_copy(update=own)

    def run(self) -> int:
        from services.client import StillhouseClient
        from services.stack.stack import Stack

        with self._act("data"):
            data = self._find_data()
        member, study = _load_job(self._files / f"{data}-member.yaml"), _load_study(self._files / f"{data}-study.yaml")
        with self._act("stack"):
            self._tell(f"Starting Redis, Ray and the control plane; state in {self._settings.home}")
            stack = Stack(self._settings, port=self._port, say=lambda text: self._tell(text, loud=False))
            stack.start()
        try:
            with StillhouseClient(stack.url, key=stack.key) as client:
                code = self._story(client, stack, member, study)
        finally:
            self._tell("Stopping everything")
            stack.stop()
        self._tell(f"Done after {duration(time.monotonic() - self._begun)}; nothing is left running")
        return code

    def _story(self, client: "StillhouseClient", stack: "Stack", member: JobSpec, study: StudySpec) -> int:
        self._cancel_leftovers(client)
        with self._act("members"):
            jobs, code = self._train_members(client, member)
        if code != OK:
            return self._point_at_logs(stack, code)
        with self._act("publish"):
            self._publish(client, study, jobs)
        with self._act("study"):
            identity, code = self._run_study(client, study)
        if code != OK:
            return self._point_at_logs(stack, code)
        with self._act("report"):
            self._show_report(client, stack, identity)
        self._show_times()
        return OK

    def _cancel_leftovers(self, client: "StillhouseClient") -> None:
        """Jobs of a demo that was interrupted would go on now, and take this one's CPUs."""
        for job in client.jobs():
            if not job.state.is_final:
                self._tell(f"Cancelling {job.id}, which an interrupted demo left", loud=False)
                client.cancel_job(job.id)

    def _find_data(self) -> Data:
        if self._asked == "digits":
            self._tell("Data: scikit-learn's digits, as asked: 1,797 images of 8 x 8")
            return "digits"
        self._tell("Looking for Fashion-MNIST (70,000 images of clothes); it is fetched if need be, once")
        reason = self._fetch_fashion()
        if reason is None:
            self._tell("Data: Fashion-MNIST")
            return "fashion"
        if self._asked == "fashion":
            raise InvalidData(f"Fashion-MNIST can't be had: {reason}")
        say(reason)
        self._tell(
            "Data: scikit-learn's digits, since Fashion-MNIST can't be had: a smaller demo, and a smaller lesson"
        )
        return "digits"

    def _fetch_fashion(self) -> str | None:
        """None, or why it can't be had."""
        command = [
            sys.executable,
            "-m",
            "distill.science.datasets",
            "fashion-mnist",
            "--cache",
            str(self._settings.cache),
        ]
        if self._settings.fashion_mnist:
            command += ["--folder", str(self._settings.fashion_mnist)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=DATA_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return f"it was not there after {DATA_TIMEOUT_S:.0f} s"
        return None if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"

    def _train_members(self, client: "StillhouseClient", member: JobSpec) -> tuple[list[str], int]:
        from services.cli.watch import watch_on_screen

        stop = member.dataset.rows.stop
        self._tell(f"One team trains {NUM_MEMBERS} members at the same time, on rows 0 to {stop:,} and their labels")
        specs = [
            member.model_copy(
                update={"name": f"{member.name}-{seed}", "training": member.training.model_copy(update={"seed": seed})}
            )
            for seed in range(NUM_MEMBERS)
        ]
        jobs = [client.submit_job(spec).id for spec in specs]
        names = dict(zip(jobs, (spec.name for spec in specs), strict=True))
        code = watch_on_screen(client, [("job", job) for job in jobs], names=names)
        return jobs, code

    def _publish(self, client: "StillhouseClient", study: StudySpec, jobs: list[str]) -> None:
        from services.cli.teachers import ensure_named, wait_for_check

        name, _, alias = study.job.teachers[0].name.partition("@")
        self._tell(
            f"Publishing the {len(jobs)} members as one teacher, {name}@{alias}; a process checks and measures it"
        )
        ensure_named(client, TeacherSpec(name=name, description="The demo's ensemble."))
        members = tuple(MemberFromJob(job=job) for job in jobs)
        version = client.publish(name, TeacherVersionSpec(members=members, alias=alias))
        with console().status(f"{name}@{version.version} is being checked"):
            checked = wait_for_check(client, name, version.version)
        if checked.state is not TeacherVersionState.READY or checked.manifest is None:
            raise StillhouseError(
                f"{name} was rejected: {checked.problem.message if checked.problem else 'no reason given'}"
            )
        card = checked.manifest
        self._tell(
            f"{name}@{checked.version} is READY: {card.size.parameters:,} parameters, {card.rows_per_s:,.0f} rows/s"
        )

    def _run_study(self, client: "StillhouseClient", study: StudySpec) -> tuple[str, int]:
        from services.cli.watch import watch_on_screen

        rows = study.job.dataset.rows
        to = f"to {rows.stop:,}" if rows.stop else "on"
        self._tell(
            f"Another team's student learns from its answers, on rows {rows.start:,} {to}; its baseline from labels alone"
        )
        view = client.submit_study(study)
        code = watch_on_screen(client, [("study", view.study.id)])
        return view.study.id, code

    def _show_report(self, client: "StillhouseClient", stack: "Stack", identity: str) -> None:
        self._tell("The report")
        show_markdown(client.report_markdown("study", identity))
        storage = stack.home.storage
        view = client.study(identity)
        self._tell(f"The report, with plots: {storage / str(view.study.report)}")
        for artifact in client.artifacts(view.children["student"].id):
            console().print(f"  the student: {storage / artifact.path}", markup=False)

    def _point_at_logs(self, stack: "Stack", code: int) -> int:
        self._tell(
            f"It didn't work out. Logs of the jobs: {stack.home.storage / 'runs'}; of the stack: {stack.home.logs}"
        )
        return code

    def _show_times(self) -> None:
        console().print()
        show_table(("PHASE", "SECONDS"), ((name, f"{seconds:.1f}") for name, seconds in self._times.items()))

    @contextmanager
    def _act(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self._times[name] = time.monotonic() - begun

    def _tell(self, text: str, *, loud: bool = True) -> None:
        at = duration(time.monotonic() - self._begun)
        console().print(f"[{at:>10}] {text}", style="bold" if loud else "dim", markup=False)


def _load_job(path: Path) -> JobSpec:
    from services.cli.files import load_spec

    spec = load_spec(path)
    if isinstance(spec, JobSpec):
        return spec
    raise InvalidSpec(f"{path} is a study; the demo needs a job there")


def _load_study(path: Path) -> StudySpec:
    from services.cli.files import load_spec

    spec = load_spec(path)
    if isinstance(spec, StudySpec) and spec.job.teachers:
        return spec
    raise InvalidSpec(f"{path} is no study with a teacher; the demo needs one there")
