"""The study file: a job, and what it is compared with."""

from typing import Literal, Self

from pydantic import Field, model_validator

from distill.contracts.base import Name, Spec
from distill.contracts.datasets import NoLabels
from distill.contracts.job import JobSpec
from distill.contracts.objective import LabelsTerm
from distill.contracts.schedules import extremes
from distill.contracts.scheme import Offline


class Child(Spec):
    """What one job of a study is for."""

    role: Literal["student", "baseline"]
    point: str | None
    """The student size of a sweep; None without one."""
    seed: int
    generation: int


class StudySpec(Spec):
    """A job, and what it is compared with."""

    version: Literal[1] = 1
    name: Name
    job: JobSpec
    baseline: bool = True
    """Train the same student without teachers too, on the same labels, at equal steps."""
    alpha: float = Field(default=0.5, ge=0, le=1)
    """How much size counts beside accuracy in the report's distillation score (Alkhulaifi et al., 2021)."""
    within: float = Field(default=0.02, ge=0, lt=1)
    """The share of the ensemble's accuracy that the report's cheapest student may lack."""

    @model_validator(mode="after")
    def _baseline_can_learn(self) -> Self:
        if self.baseline and isinstance(self.job.dataset.labels, NoLabels):
            raise ValueError("baseline: it learns from labels, and job.dataset.labels is 'none'; set 'baseline: false'")
        return self

    def children(self) -> dict[str, JobSpec]:
        """Role -> job file of each child, in the order in which they start."""
        children = {"student": self.job}
        if self.baseline and not self.job.learns_from_labels_alone:
            children["baseline"] = without_teachers(self.job)
        return children


def without_teachers(job: JobSpec) -> JobSpec:
    """The same student, data, steps and schedule, taught by labels alone."""
    terms = tuple(term for term in job.objective if isinstance(term, LabelsTerm) and extremes(term.weight)[1] > 0)
    smoothing = terms[0].smoothing if terms else 0.0
    return job.model_copy(
        update={
            "name": f"{job.name[:39].rstrip('-')}-baseline",
            "teachers": (),
            "scheme": Offline(),
            "objective": (LabelsTerm(kind="labels", smoothing=smoothing),),
        }
    )
