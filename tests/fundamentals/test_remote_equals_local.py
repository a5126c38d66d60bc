"""It makes no difference where teachers run: served by the pool, or in the student's own process, they teach the same.

The same job, seed and teachers, answers in single precision; the losses of the first 50 steps, one by one.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import pytest
from ray import serve
from redis import Redis

from distill.contracts import names
from distill.contracts.records import JobRecord
from distill.contracts.settings import NodeSettings
from distill.contracts.taps import MemberTap
from distill.contracts.teachers import ResolvedTeacher
from examples.in_process import teachers_here
from student_worker.pool import Pool
from teacher_server.app import build
from teacher_server.client import TeacherPool
from teacher_server.replica import TeacherArgs
from tests.student_worker.knowledge import a_job, a_trained_teacher, step_by_step

STEPS = 50
STAGES = [{"student": "stages.1", "teacher": "stages.1"}]
ANSWERS = [{"kind": "labels", "weight": 0.1}, {"kind": "soft_targets", "weight": 0.9}]
KNOWLEDGE: dict[str, dict[str, Any]] = {
    "answers": {"objective": ANSWERS},
    "a feature that the teacher reduces": {
        "objective": [*ANSWERS, {"kind": "attention", "weight": 100.0, "pairs": STAGES}],
    },
    "a whole feature": {"objective": [*ANSWERS, {"kind": "hint", "pairs": STAGES}]},
    "one member after the other": {
        "objective": [*ANSWERS, {"kind": "hint", "pairs": STAGES}],
        "ensemble": {"combine": "mean_logit", "members": {"kind": "in_order"}},
    },
}


@pytest.fixture(scope="module")
def wise(settings: NodeSettings, connected_ray: None) -> Iterator[ResolvedTeacher]:
    """Two trained members of different architectures, served."""
    teacher = a_trained_teacher(settings, "wherever")
    application = names.application(teacher.name, teacher.version)
    args = TeacherArgs(teacher=teacher.name, version=teacher.version, digest=teacher.digest)
    serve.run(build(args), name=application, route_prefix=None)
    yield teacher
    serve.delete(application)


def served(record: JobRecord, settings: NodeSettings, taps: Sequence[MemberTap]) -> Pool:
    """The teachers where they are served."""
    return TeacherPool(record.teachers, team=record.team, job=record.id, answers=record.spec.answers, taps=taps)


@pytest.mark.parametrize("what", KNOWLEDGE)
def test_the_losses_of_the_first_50_steps_are_the_same(
    settings: NodeSettings, redis: Redis, wise: ResolvedTeacher, what: str
):
    training = {"epochs": 5, "batch_size": 96, "optimizer": {"kind": "adamw", "lr": 0.005}}
    record = a_job(settings, "wherever", (wise,), training=training, **KNOWLEDGE[what])

    local = [loss for _, loss in islice(step_by_step(record, settings, redis, teachers_here), STEPS)]
    remote = [loss for _, loss in islice(step_by_step(record, settings, redis, served), STEPS)]

    assert len(local) == STEPS
    assert len(set(local)) > 40
    assert remote == pytest.approx(local, rel=1e-6)
