"""The job file: one student, trained once. No code in it, and unknown keys are refused."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from distill.contracts.base import InWords, Name, Spec
from distill.contracts.datasets import DatasetSpec, NoLabels
from distill.contracts.models import TransformersModel, TransformersWeightsRef, WeightsRef, ZooModel

TeacherRef = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?@[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$"),
    InWords("expected name@version or name@alias, such as fashion@3 or fashion@prod"),
]
"""``name@version`` or ``name@alias``, such as ``fashion@3`` or ``fashion@prod``."""


class ZooStudent(ZooModel):
    """A student of the zoo."""

    init_from: WeightsRef | None = None
    """Start from these weights rather than from random ones."""


class TransformersStudent(TransformersModel):
    """A student of the transformers library."""

    init_from: TransformersWeightsRef | None = None
    """A folder gives its configuration too, which ``config`` overrides."""


StudentSpec = Annotated[ZooStudent | TransformersStudent, Field(discriminator="source")]


class TeacherUse(Spec):
    """A teacher of the pool, and how much its word counts."""

    name: TeacherRef
    weight: float = Field(default=1.0, gt=0)
    """Split evenly over the teacher's members."""


class MeanProbability(Spec):
    """The weighted mean of the members' softened probabilities."""

    combine: Literal["mean_probability"] = "mean_probability"


class MeanLogit(Spec):
    """The weighted mean of the members' logits."""

    combine: Literal["mean_logit"]


EnsembleSpec = Annotated[MeanProbability | MeanLogit, Field(discriminator="combine")]


class Offline(Spec):
    """Frozen, served teachers."""

    kind: Literal["offline"] = "offline"


SchemeSpec = Offline
"""A tagged union on ``kind`` as soon as there is a second scheme."""


class ServedTarget(Spec):
    """The pool's answer: the combined ensemble, or one teacher or member of it."""

    source: Literal["served"] = Field(default="served", alias="from")
    teacher: int | None = Field(default=None, ge=0)
    """Position in ``teachers``; left out: all of them, combined."""
    member: int | None = Field(default=None, ge=0)
    """Position among that teacher's members; left out: all of them, combined."""

    model_config = ConfigDict(populate_by_name=True)

    @model_validator(mode="after")
    def _member_of_a_teacher(self) -> Self:
        if self.member is not None and self.teacher is None:
            raise ValueError("'member' needs 'teacher': the position of the teacher that it belongs to")
        return self


class LabelsTerm(Spec):
    """Cross-entropy with the true labels, mean over the labelled rows of the step; no labels, no term."""

    kind: Literal["labels"]
    weight: float = Field(default=1.0, ge=0)
    smoothing: float = Field(default=0.0, ge=0, lt=1)


class SoftTargetsTerm(Spec):
    """KL(teacher || student) of softened distributions, times T squared (Hinton, Vinyals, Dean, 2015)."""

    kind: Literal["soft_targets"]
    weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=4.0, gt=0, le=1000)
    """Divides logits on both sides; 1.0 leaves them as they are."""
    target: ServedTarget = ServedTarget()


Term = Annotated[LabelsTerm | SoftTargetsTerm, Field(discriminator="kind")]


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


class AnswersSpec(Spec):
    """How teachers answer."""

    precision: Literal["fp32", "fp16"] = "fp16"


class EvaluationSpec(Spec):
    """When the student is measured on validation rows."""

    every_epochs: int = Field(default=1, ge=1)


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

    @model_validator(mode="after")
    def _terms_have_targets(self) -> Self:
        if all(term.weight == 0 for term in self.objective):
            raise ValueError("objective: every weight is 0, so nothing would be learned; give one term a weight > 0")
        served = [term for term in self.objective if isinstance(term, SoftTargetsTerm)]
        if served and not self.teachers:
            raise ValueError(
                "objective: 'soft_targets' needs a teacher, and 'teachers' is empty; name one, or drop the term"
            )
        if self.teachers and not served:
            raise ValueError("teachers: no term of the objective uses them; add a 'soft_targets' term, or drop them")
        for term in served:
            if term.target.teacher is not None and term.target.teacher >= len(self.teachers):
                raise ValueError(
                    f"objective: target.teacher is {term.target.teacher}, but positions in 'teachers' "
                    f"go from 0 to {len(self.teachers) - 1}"
                )
        return self

    @model_validator(mode="after")
    def _labels_are_there(self) -> Self:
        if not self.teachers and isinstance(self.dataset.labels, NoLabels):
            raise ValueError("dataset.labels: without teachers the student needs labels, and their kind is 'none'")
        return self

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        if self.training.batch_size % self.compute.workers:
            raise ValueError(
                f"training.batch_size: {self.training.batch_size} is not divisible by compute.workers, {self.compute.workers}"
            )
        return self


class StudySpec(Spec):
    """A job, and what it is compared with."""

    version: Literal[1] = 1
    name: Name
    job: JobSpec
    baseline: bool = True
    """Train the same student without teachers too, on the same labels, at equal steps."""

    @model_validator(mode="after")
    def _baseline_can_learn(self) -> Self:
        if self.baseline and isinstance(self.job.dataset.labels, NoLabels):
            raise ValueError("baseline: it learns from labels, and job.dataset.labels is 'none'; set 'baseline: false'")
        return self

    def children(self) -> dict[str, JobSpec]:
        """Role -> job file of each child, in the order in which they start."""
        children = {"student": self.job}
        if self.baseline and self.job.teachers:
            children["baseline"] = without_teachers(self.job)
        return children


def without_teachers(job: JobSpec) -> JobSpec:
    """The same student, data, steps and schedule, taught by labels alone."""
    terms = tuple(term for term in job.objective if isinstance(term, LabelsTerm) and term.weight > 0)
    smoothing = terms[0].smoothing if terms else 0.0
    return job.model_copy(
        update={
            "name": f"{job.name[:39].rstrip('-')}-baseline",
            "teachers": (),
            "objective": (LabelsTerm(kind="labels", smoothing=smoothing),),
        }
    )
