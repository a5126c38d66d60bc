"""What the files of this tutorial share: one job that nobody broke, and the teacher that it became.

A newcomer reads: submit, watch, pause, cancel; then what breaks (control plane, Redis, worker, older attempt); then teachers
(study, killed replica), and workers.
"""

import httpx
import pytest

from distill.contracts.records import JobRecord
from distill.contracts.teachers import (
    MemberFromJob,
    TeacherSpec,
    TeacherVersion,
    TeacherVersionSpec,
    TeacherVersionState,
)
from services.client.client import StillhouseClient
from services.stack.stack import Stack
from tests.fundamentals.jobs import a_job, ended, shown
from tests.fundamentals.waiting import until

TEACHER = "reader"


@pytest.fixture(scope="session")
def answer(stack: Stack) -> httpx.Response:
    """What is said to someone who posts the first job, without any client of ours."""
    return httpx.post(f"{stack.url}/v1/jobs", json=a_job().model_dump(mode="json"), headers=shown(stack.key))


@pytest.fixture(scope="session")
def unbroken(stack: Stack, answer: httpx.Response) -> JobRecord:
    """That job at its end; nothing happened to it: what others learn in spite of everything is compared with it."""
    with StillhouseClient(stack.url, key=stack.key) as client:
        return ended(client, JobRecord.model_validate_json(answer.content))


@pytest.fixture(scope="session")
def teacher(stack: Stack, unbroken: JobRecord) -> str:
    """A teacher of one member, the student that the unbroken job left: ``name@version``, as job files call it."""
    with StillhouseClient(stack.url, key=stack.key) as client:
        client.create_teacher(TeacherSpec(name=TEACHER))
        made = client.publish(TEACHER, TeacherVersionSpec(members=(MemberFromJob(job=unbroken.id),)))

        def checked() -> TeacherVersion:
            return client.teacher_version(TEACHER, made.version)

        until(lambda: checked().state is not TeacherVersionState.CHECKING)
        assert checked().state is TeacherVersionState.READY, checked().problem
        return f"{TEACHER}@{made.version}"
