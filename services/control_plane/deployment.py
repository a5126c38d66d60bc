"""Which Serve applications there should be: a pure function of records, of what is deployed, and of the time."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from distill.contracts import names
from distill.contracts.pool import Reservation
from distill.contracts.records import JobRecord, Phase
from distill.contracts.teachers import TeacherRecord, TeacherResources, TeacherVersion
from services.control_plane.ray_rest import ClusterResources

PROXY_LOCATION = "HeadOnly"
"""One HTTP proxy, for the door. Fixed at the cluster's first application, as its address is: Serve ignores a later change."""

DOOR_HOST = "127.0.0.1"
"""The door asks for API keys and speaks no TLS: only the head node reaches it, until something in front speaks TLS."""


def needed_applications(jobs: Iterable[JobRecord], reservations: Iterable[Reservation] = ()) -> set[str]:
    """Names of the applications that an attempt asks, or will ask once its workers are up, or that are reserved."""
    asked = applications_of(filter(asks_teachers, jobs))
    teachers = [reservation.teacher for reservation in reservations]
    reserved = {names.application(teacher.name, teacher.version) for teacher in teachers}
    return asked | reserved | ({names.DOOR_APPLICATION} if reserved else set())


def asks_teachers(job: JobRecord) -> bool:
    """Whether an attempt at the job asks its teachers, or will once its workers are up: its data and student are right."""
    return job.state.has_attempt and job.newest is not None and Phase.CHECKED in job.newest.phases


def applications_of(jobs: Iterable[JobRecord]) -> set[str]:
    """Names of the applications of all teachers of these jobs."""
    return {names.application(teacher.name, teacher.version) for job in jobs for teacher in job.teachers}


def drop_idle(last_needed: Mapping[str, datetime], *, now: datetime, idle_s: float) -> dict[str, datetime]:
    """Application -> when it was last needed, without those that have been idle for ``idle_s``."""
    return {name: at for name, at in last_needed.items() if now - at < timedelta(seconds=idle_s)}


def serve_config(
    replicas: Mapping[str, int], teachers: Sequence[TeacherRecord], *, door_port: int, has_door: bool
) -> dict[str, Any]:
    """The body for Serve's declarative REST API; the same records and counts give the same body.

    Args:
        replicas: application -> how many replicas, of each teacher that is to be served; with any of them, there is
            the answer book.
        teachers: every teacher.
        door_port: where the HTTP proxy listens.
        has_door: whether the pool can be asked over HTTP.
    """
    found = served_versions(teachers)
    applications = [_teacher(name, *found[name], replicas[name]) for name in sorted(replicas.keys() & found.keys())]
    if applications:
        applications.append(_BOOK)
    if has_door:
        applications.append(_DOOR)
    return {
        "proxy_location": PROXY_LOCATION,
        "http_options": {"host": DOOR_HOST, "port": door_port},
        "applications": applications,
    }


def served_versions(teachers: Iterable[TeacherRecord]) -> dict[str, tuple[str, TeacherVersion]]:
    """Application -> teacher's name and version, of all that can be served."""
    return {
        names.application(teacher.name, version.version): (teacher.name, version)
        for teacher in teachers
        for version in teacher.versions
        if version.manifest is not None
    }


def fewest(applications: Iterable[str], teachers: Iterable[TeacherRecord]) -> dict[str, int]:
    """Application -> the fewest replicas that it may have; those that are no teacher's are left out."""
    found = served_versions(teachers)
    return {name: found[name][1].resources.replicas for name in applications if name in found}


def taken(replicas: Mapping[str, int], teachers: Iterable[TeacherRecord]) -> ClusterResources:
    """What so many replicas of these applications take; those that are no teacher's take nothing."""
    found = served_versions(teachers)
    sizes = [size_of(found[name][1].resources, count) for name, count in replicas.items() if name in found]
    return sum(sizes, ClusterResources())


def size_of(resources: TeacherResources, replicas: int = 1) -> ClusterResources:
    """What so many replicas of a version take together."""
    return ClusterResources(cpus=replicas * resources.num_cpus, gpus=replicas * resources.num_gpus)


def _teacher(name: str, teacher: str, version: TeacherVersion, replicas: int) -> dict[str, Any]:
    manifest, resources = version.manifest, version.resources
    assert manifest is not None  # noqa: S101 - only READY versions come here
    return {
        "name": name,
        "import_path": "teacher_server.app:build",
        "route_prefix": None,
        "args": {
            "teacher": teacher,
            "version": version.version,
            "digest": manifest.digest,
            "threads": resources.threads,
            "max_batch_rows": resources.max_batch_rows,
            "max_batch_tokens": resources.max_batch_tokens,
        },
        "deployments": [
            {
                "name": names.DEPLOYMENT,
                "num_replicas": replicas,
                "ray_actor_options": {"num_cpus": resources.num_cpus, "num_gpus": resources.num_gpus},
            }
        ],
    }


_BOOK: dict[str, Any] = {
    "name": names.BOOK_APPLICATION,
    "import_path": "teacher_server.book.app:build",
    "route_prefix": None,
    "args": {},
}

_DOOR: dict[str, Any] = {
    "name": names.DOOR_APPLICATION,
    "import_path": "teacher_server.door.app:build",
    "route_prefix": names.DOOR_PREFIX,
    "args": {},
}
