"""What is measured of a model, and what a finished attempt leaves: the raw material of every report."""

from collections.abc import Sequence

from distill.contracts.base import Digest, Stored
from distill.contracts.datasets import DatasetFacts


class Size(Stored):
    """How big and how slow a model is: no data is needed to know it."""

    parameters: int
    bytes: int
    """Of the safetensors file."""
    flops: int
    """Floating-point operations of one row's forward pass; a multiply-add counts as two."""
    latency_ms: dict[int, float]
    """Batch size -> median milliseconds of a forward pass."""
    latency_threads: int
    latency_device: str
    peak_memory_bytes: int | None = None
    """The most that one forward pass of 64 rows holds at once beside the weights and the rows themselves.

    On the CPU the tensors that live between two operations, counted exactly, without the kernels' own workspace; on
    CUDA what torch's allocator had given out, workspace and rounding included. None in results of before this was
    measured. Of several models that run one after the other: the greatest of theirs.
    """


class Quality(Stored):
    """How good a model is on test data that was never used for a choice."""

    accuracy: float
    nll: float
    """Mean negative log-likelihood of the true class, in nats."""
    calibration_error: float
    """Expected calibration error, 15 equal-width bins (Guo et al., 2017, arXiv:1706.04599)."""
    num_rows: int


class Selected(Stored):
    """The epoch that was chosen on validation rows alone, and what its weights are worth on the test rows."""

    epoch: int
    """From 1."""
    quality: Quality


class Snapshot(Stored):
    """The student's weights as they were after an epoch: a folder with ``model.safetensors`` and its card."""

    epoch: int
    """From 1."""
    path: str
    """Below the storage root; an attempt that went on from an earlier one's checkpoint lists its snapshots too."""
    digest: Digest
    """Of the weights."""


class CurvePoint(Stored):
    """One epoch of a training."""

    epoch: int
    """From 1: epochs that are complete."""
    step: int
    train_loss: float
    """Mean over the steps of the epoch."""
    learning_rate: float
    validation_accuracy: float | None = None
    validation_loss: float | None = None
    seconds: float
    """Wall time of the epoch's training steps."""
    rows_per_s: float


def best_point(curve: Sequence[CurvePoint]) -> CurvePoint | None:
    """The first epoch of the highest validation accuracy; None where none was measured."""
    measured = [point for point in curve if point.validation_accuracy is not None]
    return max(measured, key=lambda point: (point.validation_accuracy or 0.0, -point.epoch), default=None)


class Artifact(Stored):
    """A file that a job leaves for its owner."""

    name: str
    path: str
    """Below the storage root."""
    size_bytes: int
    digest: Digest
    media_type: str


class TeacherQuality(Stored):
    """What a teacher's answers on the test data were worth."""

    teacher: str
    """``name@version``."""
    ensemble: Quality
    members: tuple[Quality, ...]
    agreements: tuple[float, ...] = ()
    """Share of test rows on which each member names the class of all teachers combined; empty in older results."""


class AttemptResult(Stored):
    """``result.json`` of an attempt that finished."""

    job: str
    attempt: int
    dataset: DatasetFacts
    size: Size
    quality: Quality
    """Of the student that is handed over: `selected`, or else the last epoch's weights."""
    selected: Selected | None = None
    """The epoch that validation rows chose, where the job asks for that: then this is what is handed over."""
    last: Quality | None = None
    """Of the last epoch's weights, where `selected` is there; the same if that is the last epoch."""
    agreement: float | None = None
    """Share of test rows on which student and combined ensemble name the same class."""
    teachers: tuple[TeacherQuality, ...] = ()
    ensemble: Quality | None = None
    """Of all teachers combined as the job file says."""
    curve: tuple[CurvePoint, ...]
    steps: int
    """Those that were taken: fewer than planned where the training stopped early."""
    phases: dict[str, float]
    """Name -> wall seconds, in order."""
    teacher_rows: int = 0
    """Rows that teachers were asked for, in training and in measuring; each once, where answers are remembered."""
    teacher_rows_recalled: int = 0
    """Of these, rows that nobody computed for this job: the answer book knew them, or another job asked for them too."""
    teacher_wait_s: float = 0.0
    """Seconds in which the student had nothing to learn from."""
    artifacts: tuple[Artifact, ...]
    snapshots: tuple[Snapshot, ...] = ()
    """In the order of their epochs, of all attempts."""
    predictions: str
    """Path of ``predictions.json`` (`Predictions`), below the storage root."""
    versions: dict[str, str]
    """Python, torch, ray, stillhouse."""


class Predictions(Stored):
    """The classes named for each test row, for agreement between any two models."""

    student: tuple[int, ...]
    ensemble: tuple[int, ...] | None = None
    truth: tuple[int, ...]
