"""From a job's record to a training that is ready for its next step, at the place where its checkpoint stands."""

from collections.abc import Callable, Iterator

from redis import Redis

from distill.contracts.ensemble import AllMembers, BestMember
from distill.contracts.records import JobRecord
from distill.contracts.settings import NodeSettings
from distill.science.datasets import Dataset
from distill.science.members import members_at
from student_worker import checkpoints
from student_worker.batches import Batch, Order, batches, num_places, order_of
from student_worker.best import find_best
from student_worker.checkpoints import TrainingState
from student_worker.learner import layout_of, make_learner
from student_worker.memory import RowMemory, Speaking
from student_worker.plan import Plan
from student_worker.pool import Pool
from student_worker.ranks import Ranks, Stop
from student_worker.reporting import Reporter
from student_worker.session import Session
from student_worker.targets import Lesson, memory_rows, served, untaught, window_rows
from student_worker.training import Training


def make_training(plan: Plan, settings: NodeSettings, redis: Redis, ranks: Ranks, dataset: Dataset) -> Training:
    """What is trained, with its optimiser and schedule, before its first step.

    Raises:
        InvalidWeights: the weights to start from are torn, or don't fit.
    """
    spec = plan.record.spec
    return Training(
        make_learner(plan.record, dataset, settings, redis),
        spec.training,
        num_steps=plan.num_steps,
        device=ranks.device,
        rank=ranks.rank,
        world_size=ranks.world_size,
        all_speak=isinstance(spec.ensemble.members, AllMembers),
    )


def prepare(
    plan: Plan,
    settings: NodeSettings,
    ranks: Ranks,
    reporter: Reporter,
    dataset: Dataset,
    training: Training,
    pool: Pool | None,
    *,
    wanted: Callable[[], Stop],
    applied: Callable[[], str | None],
) -> tuple[Session, Iterator[Lesson]]:
    """One rank's session and its lessons.

    Raises:
        InvalidWeights: the checkpoint is torn, or doesn't fit.
    """
    spec = plan.record.spec
    order = order_of(
        dataset,
        taught=not spec.learns_from_labels_alone,
        batch_size=spec.training.batch_size,
        seed=spec.training.seed,
    )
    state = _restored(plan.record, settings, training)
    session = Session(
        plan,
        ranks,
        dataset,
        order,
        training,
        reporter,
        storage=settings.storage,
        wanted=wanted,
        applied=applied,
        pool=pool,
        state=state,
    )
    reporter.stands_at(step=session.steps_done, epoch=state.epoch)
    share = batches(
        dataset,
        order,
        augmentation=spec.dataset.augmentation,
        epochs=spec.training.epochs,
        start=state.cursor,
        rank=ranks.rank,
        world_size=ranks.world_size,
    )
    return session, lessons(plan, session, ranks, dataset, order, share, pool)


def lessons(
    plan: Plan,
    session: Session,
    ranks: Ranks,
    dataset: Dataset,
    order: Order,
    share: Iterator[Batch],
    pool: Pool | None,
) -> Iterator[Lesson]:
    """This rank's batches with what the pool says of them; who speaks is decided step by step."""
    if pool is None:
        yield from untaught(share)
        return
    ensemble, seed = plan.record.spec.ensemble, plan.record.spec.training.seed
    num_members = layout_of(plan.record.teachers).num_members
    if isinstance(ensemble.members, BestMember) and session.state.best_member is None:
        session.state = session.state.model_copy(update={"best_member": find_best(dataset, pool, ranks)})

    def speaking(batch: Batch) -> Speaking:
        if isinstance(ensemble.members, AllMembers):
            return None
        return members_at(
            ensemble.members,
            step=batch.cursor.epoch * order.num_steps + batch.cursor.step,
            num_steps=plan.num_steps,
            num_members=num_members,
            seed=seed,
            best=session.state.best_member,
        )

    taps, answers = session.training.learner.served_taps, plan.record.spec.answers
    max_rows = window_rows(plan.record.teachers, taps, answers)
    memory = None
    if answers.may_remember(taps):
        kept = memory_rows(plan.record.teachers, taps, answers)
        memory = RowMemory(num_places(dataset, plan.record.spec.dataset.augmentation), max_rows=kept)
    yield from served(share, pool, speaking=speaking, memory=memory, max_rows=max_rows)


def _restored(record: JobRecord, settings: NodeSettings, training: Training) -> TrainingState:
    if record.checkpoint is None:
        return TrainingState()
    folder = settings.storage / record.checkpoint.path
    return checkpoints.restore(folder, training, expected_digest=record.checkpoint.digest)
