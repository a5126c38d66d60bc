"""The teacher of the storm: two members, students of two jobs that labels alone taught."""

from distill.contracts.job import JobSpec
from distill.contracts.records import JobState
from distill.contracts.teachers import MemberFromJob, TeacherSpec, TeacherVersionSpec, TeacherVersionState
from services.client.client import StillhouseClient
from tests.fundamentals.waiting import until

NAME = "storm"


def publish(client: StillhouseClient) -> str:
    """Train the members and publish them; ``name@version``."""
    jobs = [client.submit_job(_member(seed)) for seed in range(2)]
    for job in jobs:
        for _ in client.follow("job", job.id):
            pass
        assert client.job(job.id).state is JobState.SUCCEEDED
    client.create_teacher(TeacherSpec(name=NAME))
    members = tuple(MemberFromJob(job=job.id) for job in jobs)
    made = client.publish(NAME, TeacherVersionSpec(members=members))
    until(lambda: client.teacher_version(NAME, made.version).state is not TeacherVersionState.CHECKING)
    version = client.teacher_version(NAME, made.version)
    assert version.state is TeacherVersionState.READY, version.problem
    return f"{NAME}@{version.version}"


def _member(seed: int) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": f"member-{seed}",
            "dataset": {"source": "digits"},
            "student": {"source": "zoo", "name": "mlp", "args": {"hidden": [128]}},
            "training": {"epochs": 5, "batch_size": 32, "optimizer": {"kind": "sgd", "lr": 0.05}, "seed": seed},
        }
    )
