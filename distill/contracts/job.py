"""The job file: one student, trained once. No code in it, and unknown keys are refused."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from distill.contracts.base import InWords, Name, Spec
from distill.contracts.datasets import DatasetSpec, NoLabels
from distill.contracts.ensemble import EnsembleSpec, MeanProbability
from distill.contracts.objective import (
    AverageTarget,
    FusedTarget,
    LabelsTerm,
    PeersTarget,
    SelfTarget,
    ServedTarget,
    Target,
    TaughtTerm,
    Term,
    ViewTarget,
)
from distill.contracts.schedules import extremes
from distill.contracts.scheme import Fusion, MovingAverage, Offline, Online, SchemeSpec, SelfTaught, Transformed
from distill.contracts.students import StudentSpec

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
    A job without teachers draws its batches from the labelled rows alone, in as many passes as fill the same steps:
    so student and baseline take equal steps.
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

    precision: Literal["fp32", "fp16"] = "fp16"


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


class JobSpec(Spec):
    """One student, trained once."""

    version: Literal[1] = 1
    name: Name
    labels: dict[str, str] = Field(default_factory=dict, max_length=32)
    """The user's own key-value marks."""
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

    @property
    def learns_from_labels_alone(self) -> bool:
        """Nobody teaches it: not the pool, not its peers, not itself."""
        return not taught_terms(self.objective)

    @model_validator(mode="after")
    def _something_is_learned(self) -> Self:
        if all(extremes(term.weight)[1] == 0 for term in self.objective):
            raise ValueError("objective: every weight is 0, so nothing would be learned; give one term a weight > 0")
        return self

    @model_validator(mode="after")
    def _targets_are_there(self) -> Self:
        terms = taught_terms(self.objective)
        for term in terms:
            check_target(term.target, self.scheme, num_teachers=len(self.teachers), kind=term.kind)
        if self.teachers and not any(isinstance(term.target, ServedTarget) for term in terms):
            raise ValueError("teachers: no term of the objective uses them; add a 'soft_targets' term, or drop them")
        return self

    @model_validator(mode="after")
    def _labels_are_there(self) -> Self:
        if not self.teachers and isinstance(self.dataset.labels, NoLabels):
            raise ValueError("dataset.labels: without teachers the student needs labels, and their kind is 'none'")
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


def taught_terms(objective: Sequence[Term]) -> list[TaughtTerm]:
    """The terms that need somebody's answers, not labels alone."""
    return [term for term in objective if not isinstance(term, LabelsTerm)]


def check_target(target: Target, scheme: SchemeSpec, *, num_teachers: int, kind: str) -> None:
    """See that the scheme, or the pool, supplies a term's target.

    Raises:
        ValueError: beginning with the field to mend.
    """
    match target, scheme:
        case ServedTarget(), _ if not num_teachers:
            raise ValueError(
                f"objective: '{kind}' needs a teacher, and 'teachers' is empty; name one, drop the term, or give it "
                "another target"
            )
        case ServedTarget(teacher=int(teacher)), _ if teacher >= num_teachers:
            raise ValueError(
                f"objective: target.teacher is {teacher}, but positions in 'teachers' go from 0 to {num_teachers - 1}"
            )
        case (ServedTarget(), _) | (PeersTarget(), Online()) | (SelfTarget(), SelfTaught()):
            return
        case (FusedTarget(), Online(fusion=Fusion())) | (AverageTarget(), SelfTaught(average=MovingAverage())):
            return
        case ViewTarget(), SelfTaught(view=Transformed()):
            return
        case _:
            raise ValueError(
                f"objective: the target of '{kind}' comes from '{target.source}', and {SUPPLIED_BY[target.source]}"
            )


SUPPLIED_BY = {
    "peers": "only the scheme 'online' supplies that; set scheme.kind and scheme.peers",
    "fused": "only the scheme 'online' with 'fusion' supplies that; set scheme.fusion",
    "self": "only the scheme 'self' supplies that; set scheme.kind",
    "average": "only the scheme 'self' with 'average' supplies that; set scheme.average",
    "view": "only the scheme 'self' with 'view' supplies that; set scheme.view",
}
"""What a person has to set for a target of each source."""
