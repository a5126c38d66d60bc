"""One rank of an attempt, from its first breath to its last word: it only composes."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import ray.train
import ray.train.torch
import torch
from redis import Redis

from distill.contracts.errors import AttemptSuperseded, TeacherUnavailable
from distill.contracts.records import Outcome, Phase, Wish
from distill.contracts.settings import NodeSettings
from distill.journal.client import open_redis
from distill.journal.journal import Journal
from distill.journal.watch import DirectiveWatch
from distill.science.allocator import keep_freed_memory
from distill.science.datasets import Dataset, load
from distill.science.models import Classifier
from student_worker.ending import Ending
from student_worker.evaluation import Evaluation, evaluate
from student_worker.outcomes import ending_of_stop
from student_worker.phases import Stopwatch
from student_worker.plan import WORKERS_READY_FILE, Plan
from student_worker.pool import Asked, Pool, open_pool
from student_worker.ranks import Ranks, Stop
from student_worker.reporting import Reporter
from student_worker.results import ARTIFACTS_FOLDER, Left, export_student, write_result
from student_worker.selection import HandedOver, hand_over
from student_worker.session import Session
from student_worker.setup import make_training, prepare
from student_worker.targets import Lesson


def train_loop(config: dict[str, str]) -> str:
    """What Ray Train runs on each rank: a `Plan` as JSON in, an `Ending` as JSON out."""
    plan = Plan.model_validate_json(config["plan"])
    context = ray.train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    return run_rank(plan, NodeSettings.from_environment(), ranks).model_dump_json()


def run_rank(plan: Plan, settings: NodeSettings, ranks: Ranks) -> Ending:
    """Run one rank, with a directive to follow and, on rank 0, a journal to write."""
    torch.set_num_threads(plan.record.spec.compute.threads_per_worker)
    keep_freed_memory()
    redis = open_redis(settings.redis_url)
    with (
        DirectiveWatch(redis, plan.job, attempt=plan.attempt, keep_lease=False) as watch,
        _reporter(redis, plan, ranks, watch) as reporter,
    ):
        return _Rank(plan, settings, ranks, redis, watch, reporter).run()


def _reporter(redis: Redis, plan: Plan, ranks: Ranks, watch: DirectiveWatch) -> Reporter:
    journal = Journal(redis, plan.job, attempt=plan.attempt, writer="rank-0") if ranks.is_first else None
    return Reporter(
        journal, attempt=plan.attempt, training=plan.record.spec.training, num_steps=plan.num_steps,
        is_futile=lambda: watch.is_superseded,
    )  # fmt: skip


class _Rank:
    def __init__(
        self, plan: Plan, settings: NodeSettings, ranks: Ranks, redis: Redis, watch: DirectiveWatch, reporter: Reporter
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._ranks = ranks
        self._redis = redis
        self._watch = watch
        self._reporter = reporter
        self._stopwatch = Stopwatch(plan.started_at)
        self._stopwatch.lap("check", at=plan.checked_at)
        self._stopwatch.lap("start workers")

    def run(self) -> Ending:
        stop = self._ranks.agree(self._wanted())
        if stop is not Stop.NO:
            return self._ended(stop)
        self._announce()
        dataset = load(self._plan.record.spec.dataset, self._settings)
        training = make_training(self._plan, self._settings, self._redis, self._ranks, dataset)
        pool = open_pool(
            self._plan.record,
            self._reporter,
            taps=training.learner.served_taps,
            should_stop=lambda: self._wanted() is not Stop.NO,
        )
        session, lessons = prepare(
            self._plan,
            self._settings,
            self._ranks,
            self._reporter,
            dataset,
            training,
            pool,
            wanted=self._wanted,
            applied=lambda: self._watch.checkpoint,
        )
        self._stopwatch.lap("load")
        stop = session.teach(self._noting_the_first(lessons))
        if stop is not Stop.NO:
            return self._ended(stop)
        asked = session.asked()
        if not self._ranks.is_first:
            return Ending(outcome=Outcome.FINISHED)
        return self._conclude(session, dataset, pool, asked)

    def _announce(self) -> None:
        if self._ranks.is_first:
            (self._plan.folder_in(self._settings.storage) / WORKERS_READY_FILE).touch()
        self._reporter.phase(Phase.WORKERS_READY)
        self._reporter.says("loading the data")

    def _wanted(self) -> Stop:
        try:
            wish = self._watch.wish
        except AttemptSuperseded:
            return Stop.SUPERSEDED
        if wish is not Wish.RUN:
            return Stop.CANCEL if wish is Wish.CANCEL else Stop.PAUSE
        wall_s = self._plan.record.spec.limits.wall_s
        is_over = wall_s is not None and time.time() - self._plan.started_at > wall_s
        return Stop.WALL_TIME if is_over else Stop.NO

    def _ended(self, stop: Stop) -> Ending:
        return ending_of_stop(stop, self._plan.record.spec.limits)

    def _noting_the_first(self, lessons: Iterator[Lesson]) -> Iterator[Lesson]:
        """The same lessons; the first answer and the first step are reported as they come."""
        is_taught = bool(self._plan.record.teachers)
        self._reporter.says("waiting for the first answer" if is_taught else "training")
        for first in lessons:
            if is_taught:
                self._answered()
            yield first
            self._stopwatch.lap("first step")
            self._reporter.phase(Phase.TRAINING)
            self._reporter.says("training")
            break
        yield from lessons

    def _answered(self) -> None:
        """The first answer came: it ends a wait that an earlier attempt began, too."""
        self._reporter.phase(Phase.TEACHER_READY)
        self._stopwatch.lap("first answer")
        if self._plan.record.teacher_awaited_since is not None:
            for teacher in self._plan.record.teachers:
                self._reporter.teacher_returned(teacher.reference)

    def _conclude(self, session: Session, dataset: Dataset, pool: Pool | None, asked: Asked) -> Ending:
        """Measure, export, write down; only rank 0 comes here, and the others have gone."""
        self._stopwatch.lap("train")
        self._reporter.phase(Phase.TRAINED)
        before = Asked.of(pool)
        record, state, device = self._plan.record, session.state, self._ranks.device
        self._reporter.says("measuring")
        student = hand_over(session.training, record, state.curve, dataset, device=device)
        try:
            evaluation = self._measure(student.model, dataset, pool, state.best_member)
        except TeacherUnavailable:
            return self._ended(max(Stop.WAITED, self._wanted()))
        is_lost = not all(math.isfinite(one.nll) for one in (evaluation.student, student.last) if one is not None)
        if (stop := max(self._wanted(), Stop.DIVERGED if is_lost else Stop.NO)) is not Stop.NO:
            return self._ended(stop)
        # to measure isn't to stand still
        measuring = replace(Asked.of(pool) - before, wait_s=0.0)
        return self._export(session, student, dataset, evaluation, asked + measuring)

    def _measure(self, model: Classifier, dataset: Dataset, pool: Pool | None, best: int | None) -> Evaluation:
        record = self._plan.record
        evaluation = evaluate(
            model,
            dataset,
            record.teachers,
            pool,
            ensemble=record.spec.ensemble,
            best=best,
            device=self._ranks.device,
        )
        self._stopwatch.lap("measure")
        self._reporter.phase(Phase.EVALUATED)
        return evaluation

    def _export(
        self,
        session: Session,
        student: HandedOver,
        dataset: Dataset,
        evaluation: Evaluation,
        asked: Asked,
    ) -> Ending:
        self._reporter.says("exporting")
        storage = self._settings.storage
        artifacts = self._plan.folder_in(storage) / ARTIFACTS_FOLDER
        size = export_student(student.model, self._plan.record, dataset, artifacts, device=self._ranks.device)
        self._stopwatch.lap("export")
        self._reporter.phase(Phase.EXPORTED)
        left = Left(
            curve=session.state.curve,
            steps=session.steps_done,
            selected=student.epoch,
            last=student.last,
            snapshots=session.state.snapshots,
            asked=asked,
            phases=self._stopwatch.phases,
        )
        path = write_result(self._plan, storage, dataset, size, evaluation, left)
        return Ending(outcome=Outcome.FINISHED, result=path)
