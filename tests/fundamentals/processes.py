"""Which process does what on the stack's Ray, in Ray's own words: a test kills exactly the one that it means."""

import os
import signal
from typing import Any

import httpx
import psutil

from distill.contracts import names
from distill.contracts.records import JobRecord
from distill.contracts.teachers import ResolvedTeacher
from services.stack.processes import MARK
from services.stack.stack import Stack


def worker_of(stack: Stack, job: JobRecord) -> int:
    """The process of the only Train worker of the job's newest attempt."""
    (worker,) = workers_of(stack, job)
    return worker


def workers_of(stack: Stack, job: JobRecord) -> list[int]:
    """The processes of the Train workers of the job's newest attempt."""
    return [
        int(actor["pid"])
        for actor in _of(stack, job, "actors", owner="job_id")
        if (actor["class_name"], actor["state"]) == ("RayTrainWorker", "ALIVE")
    ]


def replicas_of(stack: Stack, teacher: ResolvedTeacher) -> list[int]:
    """The processes that answer for this teacher."""
    deployment = applications(stack)[names.application(teacher.name, teacher.version)]["deployments"][names.DEPLOYMENT]
    return [replica["pid"] for replica in deployment["replicas"] if replica["state"] == "RUNNING"]


def applications(stack: Stack) -> dict[str, Any]:
    """What Serve has, by name; those that are being deleted too."""
    found: dict[str, Any] = ask_ray(stack, "/api/serve/applications/")["applications"]
    return found


def placement_groups_of(stack: Stack, job: JobRecord) -> list[str]:
    """What is reserved, or asked for, of the cluster for the job's newest attempt."""
    groups = _of(stack, job, "placement_groups", owner="creator_job_id")
    return [str(group["placement_group_id"]) for group in groups if group["state"] != "REMOVED"]


def _of(stack: Stack, job: JobRecord, what: str, *, owner: str) -> list[dict[str, Any]]:
    """What Ray lists of the job's newest attempt."""
    ray_job = ask_ray(stack, f"/api/jobs/{names.submission_id(job.id, job.attempt)}")["job_id"]
    listed = ask_ray(stack, f"/api/v0/{what}?limit=1000")["data"]["result"]["result"]
    return [one for one in listed if one[owner] == ray_job]


def kill(stack: Stack, pid: int) -> None:
    """SIGKILL to a process of this stack, which it can't hear; never to another one."""
    assert psutil.Process(pid).environ()[MARK] == stack.state.mark
    os.kill(pid, signal.SIGKILL)


def ask_ray(stack: Stack, path: str) -> Any:
    """What the dashboard answers there."""
    ray = stack.state.ray
    assert ray is not None
    token = stack.home.token.read_text().strip()
    answer = httpx.get(ray.dashboard + path, headers={"Authorization": f"Bearer {token}"}, timeout=30)
    return answer.raise_for_status().json()
