"""The study file: a job, how it is repeated and varied, and what it is compared with."""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from distill.contracts.base import Name, Spec
from distill.contracts.datasets import NoLabels
from distill.contracts.ensemble import MeanProbability
from distill.contracts.job import AnswersSpec, JobSpec, TeacherUse
from distill.contracts.notify import NotifySpec
from distill.contracts.objective import LabelsTerm, ServedTarget, Term
from distill.contracts.schedules import extremes
from distill.contracts.scheme import Offline
from distill.contracts.students import StudentSpec
from distill.contracts.targets import taught_terms
from distill.contracts.teachers import TeacherResources

MAX_CHILDREN = 128
"""Jobs of one study."""
MAX_KEY = 32
"""Characters of a child's key: a job's id is made of it, and a teacher's alias may have no more."""

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


class SweepPoint(Spec):
    """One student of a sweep."""

    name: Annotated[Name, Field(max_length=24)]
    """Becomes part of its jobs' ids."""
    student: StudentSpec


class Child(Spec):
    """What one job of a study is for."""

    role: Literal["student", "baseline"]
    point: str | None = None
    """The sweep's point; None without a sweep."""
    seed: int
    """Of its training."""
    generation: int = 1


class StudySpec(Spec):
    """A job, how it is repeated and varied, and what it is compared with.

    It becomes a student for each seed, point and generation, and a baseline for each seed and point.
    """

    version: Literal[1] = 1
    name: Name
    job: JobSpec
    baseline: bool = True
    """Train the same student without teachers too, on the same labels, at equal steps.

    There is none where generation 1 learns from labels alone: it is its own baseline.
    """
    seeds: tuple[Seed, ...] = Field(default=(), max_length=32)
    """Training seeds; left out: the job's own. Data, labels and views stay the same for all."""
    sweep: tuple[SweepPoint, ...] = Field(default=(), max_length=32)
    """Students to compare. They replace the job's own, which is trained only if it is listed too."""
    generations: int = Field(default=1, ge=1, le=8)
    """Born-again generations: from the second on, the student of the one before is the only teacher (Furlanello et al., 2018)."""
    later_objective: tuple[Term, ...] = Field(default=(), max_length=32)
    """What generations from the second on learn; left out: the job's own objective."""
    generation_replica: TeacherResources = TeacherResources()
    """What a replica takes that serves one generation to the next."""
    alpha: float = Field(default=0.5, ge=0, le=1)
    """How much size counts beside accuracy in the report's distillation score (Alkhulaifi et al., 2021)."""
    within: float = Field(default=0.02, ge=0, lt=1)
    """The share of the ensemble's accuracy that the report's cheapest student may lack."""
    notify: NotifySpec | None = None
    """Whom to tell when the report is written; ``job.notify`` is told of each job's end."""

    @model_validator(mode="after")
    def _baseline_can_learn(self) -> Self:
        if self.baseline and isinstance(self.job.dataset.labels, NoLabels):
            raise ValueError("baseline: it learns from labels, and job.dataset.labels is 'none'; set 'baseline: false'")
        return self

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        if twice := _repeated(self.seeds):
            raise ValueError(f"seeds: {twice[1]} is given twice; each seed is one training")
        if twice := _repeated(point.name for point in self.sweep):
            raise ValueError(f"sweep.{twice[0]}.name: {twice[1]!r} is the name of another point too")
        if twice := _repeated(point.student.model_dump_json() for point in self.sweep):
            raise ValueError(f"sweep.{twice[0]}.student: another point has the same student")
        return self

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        baselines = len(self._variants()) if self._has_baseline else 0
        students = len(self._variants()) * self.generations
        if students + baselines <= MAX_CHILDREN:
            return self
        counts = {"students": len(self._points()), "seeds": len(self._seeds()), "generations": self.generations}
        made = " x ".join(f"{count} {what}" for what, count in counts.items() if count > 1) + f" make {students} jobs"
        more = f", and {baselines} more for baselines" if baselines else ""
        raise ValueError(f"{'sweep' if self.sweep else 'seeds'}: {made}{more}; a study may have at most {MAX_CHILDREN}")

    @model_validator(mode="after")
    def _keys_are_short(self) -> Self:
        for key, child in self.children().items():
            if len(key) > MAX_KEY:
                position = self._points().index(child.point)
                raise ValueError(
                    f"sweep.{position}.name: it makes the key {key!r} of {len(key)} characters, and at most {MAX_KEY} "
                    "fit into a job's id; shorten the name"
                )
        return self

    @model_validator(mode="after")
    def _later_generations_can_learn(self) -> Self:
        if self.generations == 1 and self.later_objective:
            raise ValueError("later_objective: it is for generations from the second on, and 'generations' is 1")
        if self.generations > 1:
            field, objective = self._later
            _check_taught_by_one(objective, field)
            _check_job(self.spec_of(self._variants()[0].model_copy(update={"generation": 2}), study=self.name), field)
        return self

    def children(self) -> dict[str, Child]:
        """Key -> what it is for, of each job, in the order in which they start: students, then baselines.

        The key says what there is more than one of: ``student`` alone, or such as ``student-wide-s1-g2``.
        """
        students = [
            variant.model_copy(update={"generation": generation})
            for variant in self._variants()
            for generation in range(1, self.generations + 1)
        ]
        baselines = [variant.model_copy(update={"role": "baseline"}) for variant in self._variants()]
        return {self._key(child): child for child in students + (baselines if self._has_baseline else [])}

    def spec_of(self, child: Child, *, study: str) -> JobSpec:
        """The job file of a child of the study with the identity ``study``."""
        job = self.job.model_copy(
            update={
                "name": _named(self.job.name, self._key(child)),
                "student": self._points_by_name().get(child.point, self.job.student),
                "training": self.job.training.model_copy(update={"seed": child.seed}),
            }
        )
        if child.role == "baseline":
            return without_teachers(job)
        before = self.before(child)
        return job if before is None else _taught_by(job, f"{study}@{before}", self._later[1])

    def before(self, child: Child) -> str | None:
        """The key of the student that teaches this one; None for a first generation."""
        if child.generation == 1:
            return None
        return self._key(child.model_copy(update={"generation": child.generation - 1}))

    @property
    def _has_baseline(self) -> bool:
        supervised_deeply = any(term.at for term in self.job.objective if isinstance(term, LabelsTerm))
        return self.baseline and (supervised_deeply or not self.job.learns_from_labels_alone)

    @property
    def _later(self) -> tuple[str, tuple[Term, ...]]:
        """The field and the terms of what later generations learn."""
        return (
            ("later_objective", self.later_objective) if self.later_objective else ("job.objective", self.job.objective)
        )

    def _variants(self) -> list[Child]:
        """A first-generation student for each seed and point."""
        return [Child(role="student", point=point, seed=seed) for seed, point in product(self._seeds(), self._points())]

    def _seeds(self) -> tuple[int, ...]:
        return self.seeds or (self.job.training.seed,)

    def _points(self) -> tuple[str | None, ...]:
        return tuple(point.name for point in self.sweep) or (None,)

    def _points_by_name(self) -> dict[str | None, StudentSpec]:
        return {point.name: point.student for point in self.sweep}

    def _key(self, child: Child) -> str:
        return "-".join(self._parts(child))

    def _parts(self, child: Child) -> Iterator[str]:
        yield child.role
        if child.point is not None:
            yield child.point
        if self.seeds:
            yield f"s{child.seed}"
        if self.generations > 1 and child.role == "student":
            yield f"g{child.generation}"


def without_teachers(job: JobSpec) -> JobSpec:
    """The same student, data, steps and schedule, taught by labels alone; nobody follows it, so it keeps no snapshots."""
    labels = [term for term in job.objective if isinstance(term, LabelsTerm) and term.at is None]
    smoothing = next((term.smoothing for term in labels if extremes(term.weight)[1] > 0), 0.0)
    return job.model_copy(
        update={
            "teachers": (),
            "ensemble": MeanProbability(),
            "answers": AnswersSpec(),
            "scheme": Offline(),
            "training": job.training.model_copy(update={"snapshots": 0}),
            "objective": (LabelsTerm(kind="labels", smoothing=smoothing),),
        }
    )


def _taught_by(job: JobSpec, teacher: str, objective: tuple[Term, ...]) -> JobSpec:
    """The job with this teacher of one member for all teachers."""
    use = TeacherUse(name=teacher)
    return job.model_copy(update={"teachers": (use,), "ensemble": MeanProbability(), "objective": objective})


def _named(job: str, key: str) -> str:
    """What a child's job file is called: a lone student as the job is."""
    return job if key == "student" else f"{job[: 47 - len(key)].rstrip('-')}-{key}"


def _check_taught_by_one(objective: Iterable[Term], field: str) -> None:
    """See that the terms mean a teacher, and no other than the one member that a generation is.

    Raises:
        ValueError: beginning with the field to mend.
    """
    targets = [term.target for term in taught_terms(tuple(objective)) if isinstance(term.target, ServedTarget)]
    if not targets:
        raise ValueError(
            f"{field}: generations from the second on are taught by the one before, and no term has a served target; "
            "add a 'soft_targets' term to later_objective"
        )
    if any(target.teacher or target.member for target in targets):
        raise ValueError(
            f"{field}: a later generation has one teacher of one member, both at position 0; give later_objective "
            "with targets that name no other"
        )


def _check_job(job: JobSpec, field: str) -> None:
    """See that a job file made from ours is one. Raises ValueError, beginning with the field to mend."""
    try:
        JobSpec.model_validate(job.model_dump())
    except ValidationError as error:
        message = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise ValueError(f"{field}: it doesn't suit generations from the second on: {message}") from error


def _repeated(values: Iterable[object]) -> tuple[int, object] | None:
    """Position and value of the first that was there before."""
    seen: list[object] = []
    for position, value in enumerate(values):
        if value in seen:
            return position, value
        seen.append(value)
    return None
