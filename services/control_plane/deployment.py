"""Which Serve applications there should be: a pure function of records, of what is deployed, and of the time."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from distill.contracts import names
from distill.contracts.records import JobRecord, Phase
from distill.contracts.teachers import TeacherRecord, TeacherResources, TeacherVersion
from services.control_plane.ray_rest import ClusterResources

PROXY_LOCATION = "Disabled"
"""Students use handles. Fixed at the cluster's first application: Serve ignores a later change."""


def needed_applications(jobs: Iterable[JobRecord]) -> set[str]:
    """Names of the applications that an attempt asks, or will ask once its workers are up."""
    checked = (job for job in jobs if job.newest is not None and Phase.CHECKED in job.newest.phases)
    return applications_of(job for job in checked if job.state.has_attempt)


def applications_of(jobs: Iterable[JobRecord]) -> set[str]:
    """Names of the applications of all teachers of these jobs."""
    return {names.application(teacher.name, teacher.version) for job in jobs for teacher in job.teachers}


def drop_idle(last_needed: Mapping[str, datetime], *, now: datetime, idle_s: float) -> dict[str, datetime]:
    """Application -> when it was last needed, without those that have been idle for ``idle_s``."""
    return {name: at for name, at in last_needed.items() if now - at < timedelta(seconds=idle_s)}


def serve_config(applications: set[str], teachers: Sequence[TeacherRecord]) -> dict[str, Any]:
    """The body for Serve's declarative REST API; the same records give the same body."""
    versions = {
        names.application(teacher.name, version.version): (teacher.name, version)
        for teacher in teachers
        for version in teacher.versions
        if version.manifest is not None
    }
    return {
        "proxy_location": PROXY_LOCATION,
        "applications": [_application(name, *versions[name]) for name in sorted(applications & versions.keys())],
    }


def taken(applications: Iterable[str], teachers: Sequence[TeacherRecord]) -> ClusterResources:
    """What the replicas of these applications take."""
    config = {
        names.application(teacher.name, version.version): version.resources
        for teacher in teachers
        for version in teacher.versions
    }
    found = [replicas_of(config[name]) for name in applications if name in config]
    return sum(found, ClusterResources())


def replicas_of(resources: TeacherResources) -> ClusterResources:
    """What a version's replicas take together."""
    return ClusterResources(cpus=resources.replicas * resources.num_cpus, gpus=resources.replicas * resources.num_gpus)


def _application(name: str, teacher: str, version: TeacherVersion) -> dict[str, Any]:
    assert version.manifest is not None  # noqa: S101 - only READY versions come here
    resources = version.resources
    return {
        "name": name,
        "import_path": "teacher_server.app:build",
        "route_prefix": None,
        "args": {
            "teacher": teacher,
            "version": version.version,
            "digest": version.manifest.digest,
            "threads": resources.threads,
            "max_batch_rows": resources.max_batch_rows,
        },
        "deployments": [
            {
                "name": names.DEPLOYMENT,
                "num_replicas": resources.replicas,
                "ray_actor_options": {"num_cpus": resources.num_cpus, "num_gpus": resources.num_gpus},
            }
        ],
    }
