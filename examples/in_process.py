"""Jobs in this very process, teachers and all: the check, the loop and the measuring of a worker, without Ray and REST.

For many small jobs one after the other, and for tests. What a job learns here it learns in the cluster too.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from redis import Redis

from distill.contracts import names
from distill.contracts.base import digest_of, now
from distill.contracts.job import JobSpec
from distill.contracts.records import Attempt, JobRecord, JobState, Reason
from distill.contracts.settings import NodeSettings
from distill.contracts.taps import MemberTap
from distill.contracts.teachers import CheckedMember, ResolvedTeacher, TeacherResources, TeacherVersion
from distill.science.datasets import Dataset, load
from distill.science.models import Classifier
from distill.science.weights import save_model
from student_worker.check import check
from student_worker.evaluation import Evaluation, evaluate
from student_worker.learner import to_keep
from student_worker.plan import Plan
from student_worker.pool import Pool
from student_worker.ranks import Ranks, Stop
from student_worker.reporting import Reporter
from student_worker.selection import hand_over
from student_worker.session import Session
from student_worker.setup import make_training, prepare
from student_worker.student import architecture
from student_worker.targets import Lesson
from teacher_server.examination import examine
from teacher_server.local import LocalPool

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Trained:
    """A job that was trained, to its end or to where it was paused."""

    record: JobRecord
    session: Session
    dataset: Dataset
    pool: Pool | None
    seconds: float
    """In the loop: steps, answers, validation, checkpoints."""
    stop: Stop
    """NO where it was trained to its end."""

    @cached_property
    def student(self) -> Classifier:
        """As it is measured and exported; where it was paused, as it is by then.

        A selected epoch's weights take the place of the last one's in the session too.
        """
        training = self.session.training
        if self.stop is not Stop.NO:
            return to_keep(self.record, training.model)
        return hand_over(training, self.record, self.session.state.curve, self.dataset, device=CPU).model

    def measured(self) -> Evaluation:
        """The student, and its teachers, on test rows."""
        return evaluate(
            self.student,
            self.dataset,
            self.record.teachers,
            self.pool,
            ensemble=self.record.spec.ensemble,
            best=self.session.state.best_member,
            device=CPU,
        )


def a_record(identity: str, spec: JobSpec, teachers: Sequence[ResolvedTeacher] = ()) -> JobRecord:
    """The job as the control plane would hand it to its first attempt."""
    return JobRecord(
        id=identity,
        spec=spec,
        spec_digest=digest_of(spec),
        teachers=tuple(teachers),
        state=JobState.STARTING,
        reason=Reason(code="launched", text="launched"),
        attempts=(Attempt(number=1),),
        created_at=now(),
        updated_at=now(),
    )


@dataclass(frozen=True)
class Prepared:
    """A job before its next step."""

    record: JobRecord
    session: Session
    lessons: Iterator[Lesson]
    dataset: Dataset
    pool: Pool | None


OpenPool = Callable[[JobRecord, NodeSettings, Sequence[MemberTap]], Pool | None]
"""Opens the pool of a job's teachers, asked for some taps; None for a job without teachers."""


def teachers_here(record: JobRecord, settings: NodeSettings, taps: Sequence[MemberTap]) -> Pool | None:
    """The job's teachers, in this process."""
    if not record.teachers:
        return None
    return LocalPool(
        record.teachers,
        storage=settings.storage,
        precision=record.spec.answers.precision,
        top_k=record.spec.answers.top_k,
        taps=taps,
        plugins=settings.plugins,
    )


def prepared(
    record: JobRecord,
    settings: NodeSettings,
    redis: Redis,
    *,
    attempt: int = 1,
    wanted: Callable[[Session], Stop] = lambda session: Stop.NO,
    open_pool: OpenPool = teachers_here,
) -> Prepared:
    """A job that is ready for its next step, on one thread of the CPU, from the record's checkpoint if it has one.

    Args:
        record: of the job, with its teachers, whose folders lie on storage.
        settings: where storage and data lie; checkpoints go to the attempt's folder.
        redis: asked only where a student starts from another job's weights.
        attempt: the number of this one.
        wanted: asked before each step whether to stop there.
        open_pool: where its teachers are.

    Raises:
        StillhouseError: whatever the check of a job refuses.
    """
    # more threads than cores wait for each other longer than they compute
    torch.set_num_threads(1)
    checked = check(record, settings, redis)
    record = record.model_copy(update={"spec": checked.spec})
    plan = Plan(record=record, attempt=attempt, started_at=0.0, checked_at=0.0, num_steps=checked.num_steps)
    reporter = Reporter(None, attempt=attempt, training=record.spec.training, num_steps=checked.num_steps)
    ranks, dataset = Ranks(0, 1, CPU), load(record.spec.dataset, settings)
    training = make_training(plan, settings, redis, ranks, dataset)
    pool = open_pool(record, settings, training.learner.served_taps)
    sessions: list[Session] = []
    session, lessons = prepare(
        plan, settings, ranks, reporter, dataset, training, pool,
        wanted=lambda: wanted(sessions[0]), applied=lambda: None,
    )  # fmt: skip
    sessions.append(session)
    return Prepared(record, session, lessons, dataset, pool)


def train(
    record: JobRecord,
    settings: NodeSettings,
    redis: Redis,
    *,
    attempt: int = 1,
    wanted: Callable[[Session], Stop] = lambda session: Stop.NO,
) -> Trained:
    """Train to the end, or to where ``wanted`` says; arguments and errors are those of `prepared`."""
    ready = prepared(record, settings, redis, attempt=attempt, wanted=wanted)
    began = time.perf_counter()
    stop = ready.session.teach(ready.lessons)
    seconds = time.perf_counter() - began
    return Trained(ready.record, ready.session, ready.dataset, ready.pool, seconds, stop)


def keep(trained: Trained, settings: NodeSettings) -> CheckedMember:
    """Save the student where a finished job's would lie, for it to become a member."""
    folder = names.attempt_folder(trained.record.id, 1) / "student"
    save_model(
        trained.student,
        settings.storage / folder,
        spec=architecture(trained.record.spec.student),
        input=trained.dataset.input,
        classes=trained.dataset.facts.classes,
    )
    return CheckedMember(folder=str(folder), job=trained.record.id, trained_on=trained.dataset.facts)


def publish(name: str, members: Sequence[CheckedMember], settings: NodeSettings) -> ResolvedTeacher:
    """Make the members version 1 of a teacher, with the checks of any version.

    Raises:
        StillhouseError: the check rejects them.
    """
    version = TeacherVersion(version=1, members=tuple(members), resources=TeacherResources(), created_at=now())
    manifest = examine(name, version, settings.storage / names.teacher_folder(name, 1), settings)
    return ResolvedTeacher(name=name, version=1, digest=manifest.digest, weight=1.0, manifest=manifest)
