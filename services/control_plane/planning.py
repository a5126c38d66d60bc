"""From the records that a submit would store to what would become of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from distill.contracts import names
from distill.contracts.job import JobSpec
from distill.contracts.models import PluginModel, TransformersModel
from distill.contracts.objective import FeatureTerm
from distill.contracts.records import JobRecord
from distill.contracts.scheme import students_of
from distill.contracts.teachers import ResolvedTeacher, TeacherResources
from services.control_plane.decisions import needs
from services.control_plane.deployment import served_versions, size_of
from services.control_plane.plans import Plan, PlannedJob, PlannedPlace, PlannedQuota, PlannedTeacher
from services.control_plane.queue import Foreseen, View
from services.control_plane.reconciler import Reconciler
from services.control_plane.scheduling.jobs import Decisions, Job, Start, Team, Wait
from services.control_plane.store import Store

MEASURED_ROWS = 64
"""Of the batch whose memory was measured (`distill.contracts.measures.Size.peak_memory_bytes`)."""


async def foretell(
    new: Sequence[JobRecord], store: Store, reconciler: Reconciler, *, reused: Mapping[str, str], team: str
) -> Plan:
    """The plan for new jobs, on the queue and the cluster as they are; the arguments are those of `plan_of`."""
    foreseen = await reconciler.foresee(new)
    versions = served_versions(await store.teachers())
    resources = {application: version.resources for application, (_, version) in versions.items()}
    return plan_of(new, foreseen, resources, reused=reused, team=team)


def plan_of(
    new: Sequence[JobRecord],
    foreseen: Foreseen,
    resources: Mapping[str, TeacherResources],
    *,
    reused: Mapping[str, str],
    team: str,
) -> Plan:
    """The plan for new jobs of a team.

    Args:
        new: what a submit would store.
        foreseen: what would be decided of the queue with them.
        resources: application -> what a replica takes, of all their teachers.
        reused: role -> job, of those that are there already.
        team: whose they are.
    """
    jobs = {
        job.role: PlannedJob(
            workers=job.spec.compute.workers,
            cpus=needs(job.spec.compute).cpus,
            gpus=needs(job.spec.compute).gpus,
            teachers=(teachers := [_teacher(one, resources, foreseen.deployed) for one in job.teachers]),
            rows_per_s=min((one.rows_per_s * max(one.replicas, one.replicas_there) for one in teachers), default=None),
            declared_rows_per_s=job.spec.answers.rows_per_s,
            place=_place(job, foreseen.decided),
            deferred=list(deferred(job)),
        )
        for job in new
    }
    return Plan(jobs=jobs, reused=dict(reused), quotas=list(_quotas(new, foreseen.view, team)))


def deferred(job: JobRecord) -> Iterator[str]:
    """What a submit can't know, and the attempt's check sees before any worker is asked for."""
    spec = job.spec
    yield f"dataset: whether {spec.dataset.source} can be read, and has the rows and labels that are asked for"
    for place, teacher in enumerate(job.teachers):
        yield f"teachers.{place}.name: whether {teacher.reference} takes rows of the data's shape"
    if job.teachers and spec.dataset.known_classes is None:
        yield "teachers: whether they name the data's classes, in the data's order"
    if job.after is not None:
        yield f"teachers: the student of {job.after} becomes one, once it is trained"
    yield from _deferred_of_students(spec)
    yield "training.batch_size: whether the data has as many rows"
    if spec.evaluation.select == "best" or spec.evaluation.patience is not None:
        yield "evaluation: whether there are labelled validation rows to choose by"


def _deferred_of_students(spec: JobSpec) -> Iterator[str]:
    for field, student in students_of(spec.student, spec.scheme).items():
        yield f"{field}: whether it can be built for the data's rows and classes"
        if student.init_from is not None:
            yield f"{field}.init_from: whether these weights fit it"
    if isinstance(spec.student, TransformersModel | PluginModel):
        yield "student: whether it can be exported as a program"
    for place, term in enumerate(spec.objective):
        if isinstance(term, FeatureTerm):
            yield f"objective.{place}.pairs: whether the student has the modules that they name"


def _teacher(
    teacher: ResolvedTeacher, resources: Mapping[str, TeacherResources], deployed: Mapping[str, int]
) -> PlannedTeacher:
    application = names.application(teacher.name, teacher.version)
    takes, size = resources[application], teacher.manifest.size
    one, peak = size_of(takes), size.peak_memory_bytes
    return PlannedTeacher(
        reference=teacher.reference,
        members=len(teacher.manifest.members),
        replicas=takes.replicas,
        replicas_there=deployed.get(application, 0),
        max_replicas=takes.most_replicas,
        cpus=one.cpus,
        gpus=one.gpus,
        weights_bytes=size.bytes,
        memory_bytes=None if peak is None else size.bytes + peak * takes.max_batch_rows // MEASURED_ROWS,
        rows_per_s=teacher.manifest.rows_per_s,
    )


def _place(job: JobRecord, decided: Decisions) -> PlannedPlace:
    num_waiting = max((one.num_waiting for one in decided.of_jobs.values() if isinstance(one, Wait)), default=0)
    match decided.of_jobs.get(job.id):
        case Start():
            return PlannedPlace(starts=True, num_waiting=num_waiting)
        case Wait(position=position) as wait:
            return PlannedPlace(starts=False, position=position, num_waiting=num_waiting, reason=wait.reason)
        case _:  # a generation's turn comes after the one before it
            return PlannedPlace(starts=False, num_waiting=num_waiting, reason=job.reason)


def _quotas(new: Sequence[JobRecord], view: View, team: str) -> Iterator[PlannedQuota]:
    its, identities = view.ledger.teams.get(team, Team()), {job.id for job in new}
    used = _counted((job for job in view.ledger.running if job.team == team), its)
    needed = _counted((job for job in view.waiting if job.id in identities), its)
    for what, granted in its.quotas.items():
        yield PlannedQuota(what=what, granted=granted, used=used[what], needed=needed[what])
    monthly = its.granted.max_teacher_rows_per_month
    if monthly is not None:
        yield PlannedQuota(what="rows_per_month", granted=monthly, used=its.rows_this_month, needed=None)


def _counted(jobs: Iterable[Job], team: Team) -> dict[str, float]:
    counts = [team.counts(job) for job in jobs]
    return {what: sum(one[what] for one in counts) for what in team.quotas}
