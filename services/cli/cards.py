"""Records as lines for a person."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from distill.contracts.notify import Delivery, NotifySpec
from distill.contracts.records import Attempt, JobRecord, JobState
from distill.contracts.teachers import MemberManifest, TeacherRecord, TeacherResources, TeacherVersion, twins
from services.cli.screen import ago, duration
from services.control_plane.views import StudyView

NUM_MODULES = 12
"""Of a member, that are shown."""


def job_card(job: JobRecord, told: Delivery | None = None) -> Iterator[str]:
    """One job, and how telling somebody of its end went."""
    yield f"{job.id}  {job.state}: {job.reason.text}"
    if job.teacher_awaited_since and not job.state.is_final:
        allowed = duration(job.spec.limits.teacher_wait_s)
        yield f"  waits      since {ago(job.teacher_awaited_since)} (limits.teacher_wait_s: {allowed})"
    problem = job.newest.problem if job.newest and job.state is JobState.FAILED else None
    for what in ("expected", "got", "hint"):
        if problem is not None and getattr(problem, what) is not None:
            yield f"  {what:10} {getattr(problem, what)}"
    yield f"  role       {job.role}" + (f" of study {job.study}" if job.study else "")
    if job.after:
        yield f"  after      {job.after}, whose student teaches it"
    if job.priority:
        yield f"  priority   {job.priority} among the jobs of team {job.team}"
    yield f"  created    {ago(job.created_at)}" + (f", ended {ago(job.ended_at)}" if job.ended_at else "")
    yield f"  student    {_student(job)}"
    yield f"  teachers   {_teachers(job)}"
    if job.dataset:
        data = job.dataset
        yield f"  data       {data.source}: {data.num_train} rows, {data.num_labelled} labels, {data.num_test} test rows"
    yield f"  epochs     {job.num_epochs} of {job.spec.training.epochs}"
    if job.checkpoint:
        yield f"  checkpoint after epoch {job.checkpoint.epoch}, of attempt {job.checkpoint.attempt}"
    if job.spec.notify:
        yield f"  webhook    {_webhook(job.spec.notify, told, has_ended=job.state.is_final)}"
    for attempt in job.attempts:
        yield from _attempt_lines(attempt)


def study_card(view: StudyView, told: Delivery | None = None) -> Iterator[str]:
    """One study, and how telling somebody of its report went."""
    yield f"{view.study.id}  {view.state}"
    width = max(10, *map(len, view.children))
    for key, job in view.children.items():
        reused = f" (of study {job.study})" if job.study != view.study.id else ""
        yield f"  {key:{width}} {job.id}{reused}  {job.state}: {job.reason.text}"
    yield f"  {'report':{width}} {'ready' if view.study.report else 'not yet'}"
    if view.study.spec.notify:
        told_how = _webhook(view.study.spec.notify, told, has_ended=view.study.report is not None)
        yield f"  {'webhook':{width}} {told_how}"


def teacher_card(teacher: TeacherRecord) -> Iterator[str]:
    """One teacher."""
    yield f"{teacher.name}" + (f": {teacher.description}" if teacher.description else "")
    for alias, number in sorted(teacher.aliases.items()):
        yield f"  {teacher.name}@{alias} -> {number}"
    for version in teacher.versions:
        yield from version_lines(version)


def version_lines(version: TeacherVersion) -> Iterator[str]:
    """One version of a teacher."""
    count = len(version.members)
    members = f"{count} member{'s' if count > 1 else ''}"
    yield f"  version {version.version}  {version.state}, {members}, {ago(version.created_at)}"
    if version.problem:
        yield f"    {version.problem.message}"
    if version.manifest:
        card = version.manifest
        size = f"{card.size.parameters:,} parameters, {len(card.classes)} classes"
        yield f"    {size}, {card.rows_per_s:,.0f} rows/s on {card.device}, computed in {card.compute}"
        yield f"    {_replicas(version.resources)}"
        for position, member in enumerate(card.members):
            yield f"    member {position} has the modules {_modules(member)}"
        for positions in twins(card.members):
            yield (
                f"    WARNING: members {', '.join(map(str, positions))} are one network, with equal weights: "
                "together they know no more than one of them (train each with its own training.seed)"
            )


def _replicas(resources: TeacherResources) -> str:
    few, most = resources.replicas, resources.most_replicas
    number = f"{few} to {most} replicas, as demand asks for them" if most > few else f"{few} replica{'s' * (few > 1)}"
    gpus = f" and {resources.num_gpus:g} GPUs" if resources.num_gpus else ""
    return f"{number}, of {resources.num_cpus:g} CPUs{gpus} each"


def _modules(member: MemberManifest) -> str:
    """Those that a term on features would name: the outermost, with the shape of one row."""
    outer = {name: shape for name, shape in member.taps.items() if name.count(".") <= 1}
    shown = [f"{name} ({', '.join(map(str, shape))})" for name, shape in list(outer.items())[:NUM_MODULES]]
    more = len(member.taps) - len(shown)
    return ", ".join(shown) + (f", and {more} more (--json tells them all)" if more else "")


def _webhook(notify: NotifySpec, told: Delivery | None, *, has_ended: bool) -> str:
    """Whether somebody was told, and if not, why not, and whether that is tried again."""
    if told is None:
        host = urlsplit(notify.url).netloc
        return f"{host} was not told yet, or a month ago" if has_ended else f"{host} will be told of the end"
    if told.state == "delivered":
        return f"{told.host} was told {ago(told.last_try_at)}, at try {told.tries}"
    again = f"again at {told.next_try_at:%Y-%m-%d %H:%M} UTC" if told.next_try_at else "not tried again"
    return f"{told.host} could not be told at try {told.tries} ({again}): {told.problem}"


def _attempt_lines(attempt: Attempt) -> Iterator[str]:
    furthest = list(attempt.phases)[-1] if attempt.phases else "not begun"
    yield f"  attempt {attempt.number}  {attempt.outcome or furthest}"
    if attempt.problem:
        yield f"    {attempt.problem.message}"


def _teachers(job: JobRecord) -> str:
    if job.awaits_generation:
        return "none yet"
    return ", ".join(teacher.reference for teacher in job.teachers) or "none: it learns from labels"


def _student(job: JobRecord) -> str:
    student = job.spec.student
    if student.source == "plugin":
        return student.import_path
    return student.name if student.source == "zoo" else f"transformers {student.model_type}"
