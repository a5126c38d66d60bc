"""The report of a study or of a single job: what was gained, what was kept, and what it cost."""

from typing import Literal

from pydantic import Field

from distill.contracts.base import Stored, Timestamp
from distill.contracts.datasets import DatasetFacts
from distill.contracts.errors import Problem
from distill.contracts.job import JobSpec
from distill.contracts.measures import Artifact, CurvePoint, Quality, Selected, Size
from distill.contracts.records import JobState

ModelRole = Literal["member", "ensemble", "student", "baseline"]
Verdict = Literal["better", "within_noise", "worse"]
Axis = Literal["parameters", "flops", "latency"]
"""What a student costs; latency is that of one row alone."""


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


class Deviation(Stored):
    """Sample standard deviations over training seeds, of two or more."""

    accuracy: float
    nll: float
    calibration_error: float
    agreement: float | None = None


class ReportModel(Stored):
    """One line of the table of models; a student or baseline of several seeds is one line, with means."""

    role: ModelRole
    name: str
    architecture: str
    """In words, such as ``resnet8x4, width 16``."""
    point: str | None = None
    """The student size of a sweep."""
    generation: int | None = None
    """Where there are several."""
    seeds: tuple[int, ...] = ()
    """Those that left a result."""
    quality: Quality | None = None
    """On test data, of the weights that are handed over; None where it was not measured."""
    deviation: Deviation | None = None
    """None with fewer than two seeds."""
    size: Size | None = None
    """Of an ensemble: all members, one after the other."""
    agreement: float | None = None
    """Share of test rows on which it and the combined ensemble name the same class."""
    retention: float | None = None
    """Its accuracy divided by the ensemble's."""
    size_reduction: float | None = None
    """The ensemble's parameters divided by its own."""
    score: float | None = None
    """The distillation score against the ensemble, lower is better (Alkhulaifi et al., 2021); `Report.alpha` weighs it."""
    learned_from: LearnedFrom | None = None
    """None where it isn't known, and for an ensemble: its members say."""


class Comparison(Stored):
    """The student beside another model."""

    role: ModelRole
    name: str
    accuracy_gain: float
    """The student's accuracy minus the other's."""
    noise: float
    """Two standard errors of that difference: from the spread over seeds where two or more can be paired, else `row_noise`."""
    row_noise: float | None = None
    """Two standard errors from the numbers of test rows alone; None in older reports, where it is `noise`."""
    differences: tuple[float, ...] = ()
    """The difference for each seed that both have, where there are two or more."""
    point: str | None = None
    generation: int | None = None
    verdict: Verdict
    """``better`` or ``worse`` where the difference is greater than the noise."""
    retention: float | None
    """The student's accuracy divided by the other's; None where the other's is 0."""
    size_reduction: float
    """The other's parameters divided by the student's."""
    speed_up: dict[int, float]
    """Batch size -> the other's latency divided by the student's, where threads and device are the same."""


class Nearness(Stored):
    """Whether a student became like its teachers, or like the same network without them."""

    point: str | None = None
    generation: int | None = None
    to_ensemble: float
    """Share of test rows on which student and ensemble name the same class; mean over seeds."""
    to_baseline: float
    """Share of test rows on which student and baseline of the same seed name the same class; mean over seeds."""
    noise: float
    """Two standard errors of the difference of both shares, paired by row, or by seed where there are two or more."""
    nearer: Literal["ensemble", "baseline", "neither"]
    """``neither`` where the shares differ by no more than the noise."""
    position: float | None
    """Where its accuracy lies: 0 at the baseline's, 1 at the ensemble's; None where the ensemble's lead is noise, or none."""
    sentence: str


class Frontier(Stored):
    """What accuracy costs, over the student sizes of a sweep."""

    within: float
    """The share of the ensemble's accuracy that may be lacking."""
    fronts: dict[Axis, tuple[str, ...]]
    """Axis -> points that no other student beats in both cost and accuracy, from the cheapest up."""
    smallest: str | None = None
    """The point with the fewest parameters within the share; None where no student is."""
    fastest: str | None = None
    """The point with the least latency within the share; None too where latencies can't be compared."""
    sentence: str


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
    point: str | None = None
    generation: int | None = None
    seed: int | None = None
    """Named where a study has several of its kind."""
    reused_from: str | None = None
    """The earlier study that trained it, where it is not of this one."""
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
    quality: Quality | None = None
    """On test data, of the weights that are handed over: `selected`, or else the last epoch's."""
    selected: Selected | None = None
    """On test data, of the weights that validation rows chose, where the job asks for that."""
    last: Quality | None = None
    """On test data, of the last epoch's weights, where `selected` is there."""
    agreement: float | None = None
    teacher_rows: int = 0
    """Rows that teachers were asked for, in training and in measuring; each once, where answers are remembered."""
    teacher_rows_recalled: int = 0
    """Of these, rows that nobody computed for this job."""
    teacher_wait_s: float = 0.0
    spec: JobSpec
    """The job file, with every default written out: posting it again repeats the job."""
    artifacts: tuple[Artifact, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def stopped_early(self) -> bool:
        """Validation rows ended its training before the planned epochs were over."""
        may_stop = self.spec.evaluation.patience is not None and bool(self.curve)
        return may_stop and self.state is JobState.SUCCEEDED and self.curve[-1].epoch < self.spec.training.epochs


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
    """The student beside the baseline and the ensemble, as far as there are any; for each size and generation."""
    alpha: float | None = None
    """Of the distillation score; None in older reports."""
    nearness: tuple[Nearness, ...] = ()
    """For each size and generation that has ensemble and baseline."""
    frontier: Frontier | None = None
    """Of a sweep with results of two sizes or more."""
    jobs: tuple[ReportJob, ...]
    dataset: DatasetFacts | None = None
    """The student's."""
    caveats: tuple[str, ...] = ()
    """What a reader must know before trusting a figure."""
    plots: tuple[str, ...] = ()
    """Names of the files beside ``report.json``."""
