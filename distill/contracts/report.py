"""The report of a study or of a single job: what was gained, what was kept, and what it cost."""

from typing import Literal

from pydantic import Field

from distill.contracts.base import Stored, Timestamp
from distill.contracts.datasets import DatasetFacts
from distill.contracts.errors import Problem
from distill.contracts.job import JobSpec
from distill.contracts.measures import Artifact, CurvePoint, Quality, Size
from distill.contracts.records import JobState

ModelRole = Literal["member", "ensemble", "student", "baseline"]
Verdict = Literal["better", "within_noise", "worse"]


class LearnedFrom(Stored):
    """What a model was trained on."""

    dataset: str
    """The source, such as ``fashion-mnist``."""
    digest: str
    rows_start: int
    rows_stop: int
    num_rows: int
    """Rows that it learned from; validation rows are not among them."""
    num_labels: int
    """True labels that it learned from."""
    overlap_rows: int | None = None
    """Rows in both its range and the student's, where both are of one data set; None where they are not."""
    steps: int | None = None
    seconds: float | None = None
    """Wall time of its training steps."""


class ReportModel(Stored):
    """One line of the table of models."""

    role: ModelRole
    name: str
    architecture: str
    """In words, such as ``resnet8x4, width 16``."""
    quality: Quality | None = None
    """On test data; None where it was not measured."""
    size: Size | None = None
    """Of an ensemble: all members, one after the other."""
    agreement: float | None = None
    """Share of test rows on which it and the combined ensemble name the same class."""
    learned_from: LearnedFrom | None = None
    """None where it isn't known, and for an ensemble: its members say."""


class Comparison(Stored):
    """The student beside another model."""

    role: ModelRole
    name: str
    accuracy_gain: float
    """The student's accuracy minus the other's."""
    noise: float
    """Two standard errors of that difference, from the numbers of test rows."""
    verdict: Verdict
    """``better`` or ``worse`` where the difference is greater than the noise."""
    retention: float | None
    """The student's accuracy divided by the other's; None where the other's is 0."""
    size_reduction: float
    """The other's parameters divided by the student's."""
    speed_up: dict[int, float]
    """Batch size -> the other's latency divided by the student's, where threads and device are the same."""


class Station(Stored):
    """A point in a job's life."""

    name: str
    after_s: float
    """Seconds since the station before."""
    at_s: float
    """Seconds since the job was submitted."""


class ReportJob(Stored):
    """One job of the report: how it went and what it left."""

    id: str
    role: str
    state: JobState
    reason: str
    problem: Problem | None = None
    """Of its last attempt, where that ended badly."""
    attempts: int
    stations: tuple[Station, ...]
    """Submitted, claimed, launched, ..., ended: those that the last attempt reached, in order."""
    phases: dict[str, float]
    """Name -> wall seconds, as the last attempt measured them itself."""
    curve: tuple[CurvePoint, ...] = ()
    teacher_rows: int = 0
    """Rows that teachers were asked for, in training and in measuring."""
    teacher_wait_s: float = 0.0
    spec: JobSpec
    """The job file, with every default written out: posting it again repeats the job."""
    artifacts: tuple[Artifact, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)


class Report(Stored):
    """``report.json``."""

    version: Literal[1] = 1
    headline: str
    """In plain words: what was gained or lost against the baseline, what of the ensemble was kept, how much smaller."""
    kind: Literal["study", "job"]
    id: str
    name: str
    team: str
    created_at: Timestamp
    """Of the report."""
    models: tuple[ReportModel, ...]
    """Ensemble and members first, then the student, then its baseline."""
    comparisons: tuple[Comparison, ...]
    """The student beside the baseline and the ensemble, as far as there are any."""
    jobs: tuple[ReportJob, ...]
    dataset: DatasetFacts | None = None
    """The student's."""
    caveats: tuple[str, ...] = ()
    """What a reader must know before trusting a figure."""
    plots: tuple[str, ...] = ()
    """Names of the files beside ``report.json``."""
