"""A dry run as lines for a person."""

from collections.abc import Iterator

from services.control_plane.plans import Plan, PlannedJob, PlannedQuota, PlannedTeacher
from services.control_plane.scheduling.words import QUOTAS, ordinal

MB = 1e6


def plan_card(plan: Plan) -> Iterator[str]:
    """The verdict, then each job, then the team's quotas, then what is seen only later; equal lines once."""
    many = len(plan.jobs) + len(plan.reused)
    yield "it would be accepted" + (f": {many} jobs" if many > 1 else "")
    for role, job in plan.jobs.items():
        yield from _job_lines(role, job)
    for role, identity in plan.reused.items():
        yield f"{role}  is there already: {identity}"
    for quota in plan.quotas:
        yield f"quota  {_quota(quota)}"
    yield "seen only once an attempt has the data:"
    yield from dict.fromkeys(f"  {line}" for job in plan.jobs.values() for line in job.deferred)


def _job_lines(role: str, job: PlannedJob) -> Iterator[str]:
    workers = f"{job.workers} worker{'s' * (job.workers > 1)}"
    yield f"{role}  {_place(job)}"
    yield f"  takes    {workers}, {_resources(job.cpus, job.gpus)} in all"
    for teacher in job.teachers:
        yield f"  teacher  {teacher.reference}: {_teacher(teacher)}"
    if job.rows_per_s is not None:
        declared = job.declared_rows_per_s
        wanted = "" if declared is None else f", and it declares to take {declared:,.10g} rows/s"
        yield f"  answers  {job.rows_per_s:,.0f} rows/s at most with so many replicas{wanted}"


def _place(job: PlannedJob) -> str:
    place = job.place
    if place.starts:
        waiting = f", before {place.num_waiting:,} that wait" if place.num_waiting else ""
        return f"would start at once{waiting}"
    if place.reason is not None:
        return f"would wait: {place.reason.text}"
    return (
        f"would wait: {ordinal(place.position)} of {place.num_waiting:,} in the queue"
        if place.position
        else "would wait"
    )


def _teacher(teacher: PlannedTeacher) -> str:
    missing = max(0, teacher.replicas - teacher.replicas_there)
    there = f"{teacher.replicas_there} there" if teacher.replicas_there else "none there yet"
    replicas = f"{there}, {missing} to start" if missing else there
    memory = f"{teacher.weights_bytes / MB:,.1f} MB of weights"
    if teacher.memory_bytes is not None:
        memory += f", about {teacher.memory_bytes / MB:,.1f} MB at work"
    members = f"{teacher.members} member{'s' * (teacher.members > 1)}"
    each = f"each {_resources(teacher.cpus, teacher.gpus)}, {teacher.rows_per_s:,.0f} rows/s, {memory}"
    return f"{members}; replicas: {replicas}, at most {teacher.max_replicas}; {each}"


def _resources(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")


def _quota(quota: PlannedQuota) -> str:
    called = QUOTAS[quota.what][1] if quota.what in QUOTAS else "teacher rows a month"
    left = max(0.0, quota.granted - quota.used)
    needed = "" if quota.needed is None else f"; this takes {quota.needed:,.10g}"
    return f"{called}: {left:,.10g} of {quota.granted:,.10g} left{needed}"
