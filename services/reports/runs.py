"""The runs behind a report: each job with what it is for and what it left; those that differ by seed alone are a group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from distill.contracts.measures import AttemptResult, Predictions
from distill.contracts.records import JobRecord, StudyRecord
from distill.contracts.study import Child
from services.reports.words import label


@dataclass(frozen=True)
class Run:
    """One job of a report."""

    child: Child
    title: str
    """Of its line, where size and generation don't tell it: the job file's name, or the study's job's for several."""
    job: JobRecord
    result: AttemptResult | None = None
    """None where it failed."""
    predictions: Predictions | None = None


@dataclass(frozen=True)
class Group:
    """Runs that differ by their seed alone."""

    role: Literal["student", "baseline"]
    point: str | None
    generation: int
    runs: tuple[Run, ...]
    names_generation: bool = False
    """There are several of its role."""

    @property
    def finished(self) -> tuple[Run, ...]:
        """Those that left a result."""
        return tuple(run for run in self.runs if run.result is not None)

    @property
    def is_untaught(self) -> bool:
        """It learned from labels alone."""
        return self.runs[0].job.spec.learns_from_labels_alone

    @property
    def shown_generation(self) -> int | None:
        """None where there is only one."""
        return self.generation if self.names_generation else None

    @property
    def name(self) -> str:
        """Its size and generation, or where it has neither to tell, the job file's name."""
        return label(self.point, self.shown_generation) or self.runs[0].title


def runs_of(
    study: StudyRecord,
    jobs: Mapping[str, JobRecord],
    results: Mapping[str, AttemptResult],
    predictions: Mapping[str, Predictions],
) -> list[Run]:
    """A run for each child of the study, in its order."""
    children = {key: study.children.get(key) or _named_child(key, job) for key, job in jobs.items()}
    roles = [child.role for child in children.values()]
    return [
        Run(
            child,
            study.spec.job.name if roles.count(child.role) > 1 else jobs[key].spec.name,
            jobs[key],
            results.get(key),
            predictions.get(key),
        )
        for key, child in children.items()
    ]


def run_of_job(job: JobRecord, result: AttemptResult | None, predictions: Predictions | None) -> Run:
    """The only run of a job's own report."""
    return Run(_named_child("student", job), job.spec.name, job, result, predictions)


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Students before baselines, sizes and generations in the order of the runs."""
    groups: dict[tuple[str, str | None, int], list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.child.role != "student"):
        groups.setdefault((run.child.role, run.child.point, run.child.generation), []).append(run)
    several = {role for role in ("student", "baseline") if len(_generations(runs, role)) > 1}
    return [
        Group(members[0].child.role, point, generation, tuple(members), role in several)
        for (role, point, generation), members in groups.items()
    ]


def _generations(runs: Sequence[Run], role: str) -> set[int]:
    return {run.child.generation for run in runs if run.child.role == role}


def baseline_of(student: Group, groups: Sequence[Group]) -> Group | None:
    """What labels alone taught the same network: the baseline of its own generation, or else of the first.

    Where the first generation of students learned from labels alone, it is the baseline of those after it.
    """
    same_size = [group for group in groups if group.point == student.point]
    own = [g for g in same_size if (g.role, g.generation) == ("baseline", student.generation)]
    untaught = [group for group in same_size if group.is_untaught and not student.is_untaught]
    return min(own or untaught, key=lambda group: group.generation, default=None)


def paired(student: Group, baseline: Group) -> list[tuple[Run, Run]]:
    """Student and baseline of the same seed, where both left a result."""
    by_seed = {run.child.seed: run for run in baseline.finished}
    return [(run, by_seed[run.child.seed]) for run in student.finished if run.child.seed in by_seed]


def _named_child(key: str, job: JobRecord) -> Child:
    role: Literal["student", "baseline"] = "baseline" if key == "baseline" else "student"
    return Child(role=role, point=None, seed=job.spec.training.seed, generation=1)
