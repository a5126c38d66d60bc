"""The job file: one student, trained once. No code in it, and unknown keys are refused."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from distill.contracts.base import InWords, Name, Spec
from distill.contracts.datasets import DatasetSpec, NoLabels
from distill.contracts.ensemble import EnsembleSpec, MeanProbability
from distill.contracts.labels import Labels
from distill.contracts.notify import NotifySpec
from distill.contracts.objective import LabelsTerm, Term
from distill.contracts.schedules import extremes
from distill.contracts.scheme import Offline, SchemeSpec
from distill.contracts.students import StudentSpec
from distill.contracts.taps import MemberTap
from distill.contracts.targets import check_all_used, check_always_learned, check_target, taught_terms
from distill.contracts.wire import MAX_TOP_CLASSES, AnswerPrecision

TeacherRef = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?@[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$"),
    InWords("expected name@version or name@alias, such as fashion@3 or fashion@prod"),
]
"""``name@version`` or ``name@alias``, such as ``fashion@3`` or ``fashion@prod``."""


class TeacherUse(Spec):
    """A teacher of the pool, and how much its word counts."""

    name: TeacherRef
    weight: float = Field(default=1.0, gt=0)
    """Split evenly over the teacher's members."""


class Sgd(Spec):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"
    lr: float = Field(default=0.05, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    nesterov: bool = True


class AdamW(Spec):
    """Adam with decoupled weight decay (Loshchilov, Hutter, 2019)."""

    kind: Literal["adamw"]
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)


class ConstantSchedule(Spec):
    """The same learning rate throughout, after a linear warm-up."""

    kind: Literal["constant"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)


class CosineSchedule(Spec):
    """A linear warm-up, then half a cosine down to zero at the last step."""

    kind: Literal["cosine"]
    warmup_steps: int = Field(default=0, ge=0)


class TrainingSpec(Spec):
    """How the student is trained.

    An epoch has ``rows // batch_size`` steps, where rows are all training rows of the dataset section, labelled or not.
    A job that labels alone teach draws its batches from the labelled rows alone, in as many passes as fill the same
    steps: so student and baseline take equal steps.
    """

    epochs: int = Field(default=10, ge=1, le=100_000)
    batch_size: int = Field(default=128, ge=1, le=1_000_000)
    """Over all workers."""
    optimizer: Annotated[Sgd | AdamW, Field(discriminator="kind")] = Sgd()
    schedule: Annotated[ConstantSchedule | CosineSchedule, Field(discriminator="kind")] = ConstantSchedule()
    gradient_clip: float | None = Field(default=None, gt=0)
    """The greatest norm of the gradient."""
    seed: int = Field(default=0, ge=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    snapshots: int = Field(default=0, ge=0, le=64)
    """How often the student's weights are kept on the way, evenly spread, the last time at the end: a teacher's trajectory."""

    @property
    def snapshot_epochs(self) -> tuple[int, ...]:
        """The epochs, from 1, after which weights are kept."""
        return tuple(place * self.epochs // self.snapshots for place in range(1, self.snapshots + 1))

    @model_validator(mode="after")
    def _snapshots_are_of_epochs(self) -> Self:
        if self.snapshots > self.epochs:
            raise ValueError(
                f"snapshots: weights are kept after whole epochs, and there are {self.epochs}; ask for at most so many"
            )
        return self


class AnswersSpec(Spec):
    """How teachers answer."""

    precision: AnswerPrecision = "fp16"
    top_k: int | None = Field(default=None, ge=1, le=MAX_TOP_CLASSES)
    """Only the greatest so many classes, with the exact mass of all others together: for hundreds of classes and more."""
    remember: bool = True
    """Whether answers may come from the answer book, and are kept there for every job on the same teacher and data."""
    remember_features: bool = False
    """Whether answers that hold features are kept too: they can be a thousand times larger than logits."""
    rows_per_s: float | None = Field(default=None, gt=0)
    """How many rows the student can take a second, all workers together, where you know it: replicas are started for it
    at once. Left out, they follow the queue that is measured."""

    def may_remember(self, taps: Sequence[MemberTap]) -> bool:
        """Whether answers with these taps are kept, by the student and by the answer book."""
        return self.remember and (self.remember_features or not taps)


class EvaluationSpec(Spec):
    """When the student is measured on validation rows, and what follows from that: test rows have no say in it."""

    every_epochs: int = Field(default=1, ge=1)
    """And after the last one."""
    select: Literal["last", "best"] = "last"
    """The epoch whose weights are handed over; ``best``: the first of the highest validation accuracy."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many measurements in a row without a higher validation accuracy than before; left out: never."""


class ComputeSpec(Spec):
    """What a job takes of the cluster."""

    workers: int = Field(default=1, ge=1, le=1024)
    cpus_per_worker: float = Field(default=0.5, gt=0, le=1024)
    gpus_per_worker: float = Field(default=0, ge=0, le=64)
    threads_per_worker: int = Field(default=1, ge=1, le=256)
    """Torch threads; set from here, not from Ray's number."""


class LimitsSpec(Spec):
    """When to give up."""

    teacher_wait_s: float = Field(default=3600, gt=0)
    wall_s: float | None = Field(default=None, gt=0)
    """Seconds of one attempt, from its start."""
    max_failures: int = Field(default=3, ge=0, le=100)
    """New attempts after infrastructure failures (not after the user's own errors)."""
    max_preemptions: int = Field(default=100, ge=0, le=10_000)
    """New attempts after ones that were stopped from outside, or whose node was taken away."""


class JobSpec(Spec):
    """One student, trained once."""

    version: Literal[1] = 1
    name: Name
    labels: Labels = Field(default_factory=dict)
    """The user's own marks, by which lists are narrowed; they change nothing of what is learned."""
    priority: int = Field(default=0, ge=-100, le=100)
    """Among the jobs of one's own team that wait: higher ones start first. It changes nothing of what is trained."""
    dataset: DatasetSpec
    student: StudentSpec
    teachers: tuple[TeacherUse, ...] = Field(default=(), max_length=16)
    """Left empty: the student learns from true labels alone."""
    ensemble: EnsembleSpec = MeanProbability()
    scheme: SchemeSpec = Offline()
    objective: tuple[Term, ...] = Field(default=(LabelsTerm(kind="labels"),), min_length=1, max_length=32)
    training: TrainingSpec = TrainingSpec()
    answers: AnswersSpec = AnswersSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    compute: ComputeSpec = ComputeSpec()
    limits: LimitsSpec = LimitsSpec()
    notify: NotifySpec | None = None
    """Whom to tell when the job has ended."""

    @property
    def learns_from_labels_alone(self) -> bool:
        """Nobody teaches it: not the pool, not its peers, not itself."""
        return not taught_terms(self.objective)

    @model_validator(mode="after")
    def _labels_are_there(self) -> Self:
        if not self.teachers and isinstance(self.dataset.labels, NoLabels):
            raise ValueError("dataset.labels: without teachers the student needs labels, and their kind is 'none'")
        return self

    @model_validator(mode="after")
    def _something_is_learned(self) -> Self:
        has_labels = not isinstance(self.dataset.labels, NoLabels)
        heard = [term for term in self.objective if has_labels or not isinstance(term, LabelsTerm)]
        check_always_learned([term.weight for term in heard])
        return self

    @model_validator(mode="after")
    def _targets_are_there(self) -> Self:
        for place, term in enumerate(self.objective):
            if not isinstance(term, LabelsTerm):
                check_target(term, self.scheme, num_teachers=len(self.teachers), field=f"objective.{place}")
        return self

    @model_validator(mode="after")
    def _nobody_teaches_in_vain(self) -> Self:
        check_all_used(self.scheme, self.objective)
        used = {term.target.source for term in taught_terms(self.objective) if extremes(term.weight)[1] > 0}
        if self.teachers and "served" not in used:
            raise ValueError(
                "teachers: no term of the objective uses them with a weight > 0; add a 'soft_targets' term, or drop them"
            )
        if not self.teachers and self.ensemble != MeanProbability():
            raise ValueError(
                "ensemble: it says how teachers are combined, and 'teachers' is empty; name some, or drop it"
            )
        return self

    @model_validator(mode="after")
    def _patience_can_end(self) -> Self:
        patience, every = self.evaluation.patience, self.evaluation.every_epochs
        measured = -(-self.training.epochs // every)
        if patience is not None and patience >= measured:
            raise ValueError(
                f"evaluation.patience: {patience} measurements after the best one never come to pass, as the training has "
                f"{measured} in all; lower it or evaluation.every_epochs, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        if self.training.batch_size % self.compute.workers:
            raise ValueError(
                f"training.batch_size: {self.training.batch_size} is not divisible by compute.workers, {self.compute.workers}"
            )
        return self
