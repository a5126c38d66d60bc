"""From a job's record to a training that is ready for its next step, at the place where its checkpoint stands."""

from collections.abc import Callable, Iterator

from redis import Redis

from distill.contracts.records import JobRecord
from distill.contracts.settings import NodeSettings
from distill.science.datasets import Dataset
from student_worker import checkpoints
from student_worker.batches import Order, batches, order_of
from student_worker.checkpoints import TrainingState
from student_worker.plan import Plan
from student_worker.pool import Pool
from student_worker.ranks import Ranks, Stop
from student_worker.reporting import Reporter
from student_worker.session import Session
from student_worker.student import build_student, starting_weights
from student_worker.targets import Lesson, served, untaught
from student_worker.training import SharedObjective, Training, layout_of


def prepare(
    plan: Plan,
    settings: NodeSettings,
    redis: Redis,
    ranks: Ranks,
    reporter: Reporter,
    dataset: Dataset,
    pool: Pool | None,
    *,
    wanted: Callable[[], Stop],
    applied: Callable[[], str | None],
) -> tuple[Session, Iterator[Lesson]]:
    """One rank's session and its lessons.

    Raises:
        InvalidWeights: the checkpoint or the weights to start from are torn, or don't fit.
    """
    record = plan.record
    spec = record.spec
    order = order_of(
        dataset, taught=bool(record.teachers), batch_size=spec.training.batch_size, seed=spec.training.seed
    )
    training = make_training(record, settings, redis, ranks, dataset, num_steps=plan.num_steps)
    state = _restored(record, settings, training)
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
    return session, lessons(record, ranks, dataset, order, pool, state)


def make_training(
    record: JobRecord, settings: NodeSettings, redis: Redis, ranks: Ranks, dataset: Dataset, *, num_steps: int
) -> Training:
    """The student with its optimiser, schedule and objective, before its first step."""
    spec = record.spec
    start = starting_weights(spec.student.init_from, settings, redis)
    objective = SharedObjective(
        spec.objective, ensemble=spec.ensemble, layout=layout_of(record.teachers), world_size=ranks.world_size
    )
    return Training(
        build_student(spec.student, dataset, seed=spec.training.seed, start=start, plugins=settings.plugins),
        objective,
        spec.training,
        num_steps=num_steps,
        device=ranks.device,
        rank=ranks.rank,
        world_size=ranks.world_size,
    )


def lessons(
    record: JobRecord, ranks: Ranks, dataset: Dataset, order: Order, pool: Pool | None, state: TrainingState
) -> Iterator[Lesson]:
    """This rank's lessons from where ``state`` stands to the end."""
    share = batches(
        dataset,
        order,
        augmentation=record.spec.dataset.augmentation,
        epochs=record.spec.training.epochs,
        start=state.cursor,
        rank=ranks.rank,
        world_size=ranks.world_size,
    )
    return untaught(share) if pool is None else served(share, pool)


def _restored(record: JobRecord, settings: NodeSettings, training: Training) -> TrainingState:
    if record.checkpoint is None:
        return TrainingState()
    folder = settings.storage / record.checkpoint.path
    return checkpoints.restore(folder, training, expected_digest=record.checkpoint.digest)
