"""The lines of a report, and which of them stand beside each other: students, their baselines, the ensemble."""

from collections.abc import Iterator, Sequence

from distill.contracts.report import Comparison, Nearness, ReportModel
from distill.contracts.teachers import ResolvedTeacher
from services.reports.compare import compare, held_against
from services.reports.models import teacher_models
from services.reports.nearness import nearness
from services.reports.runs import Group, Run, baseline_of, grouped, paired
from services.reports.spread import group_model
from services.reports.voice import voice_of


class Lines:
    """Every model of a report, from its runs.

    Args:
        runs: at least one, of a student.
        alpha: how much size counts in the distillation score.
    """

    def __init__(self, runs: Sequence[Run], alpha: float) -> None:
        self._groups = grouped(runs)
        self._voice = voice_of(runs)
        self._alpha = alpha
        taught_by = teacher_models(self._voice.job, self._voice.result) if self._voice else ()
        self.ensemble = taught_by[0] if taught_by else None
        self._members = taught_by[1:]
        data = self._groups[0].runs[0].job.dataset
        self._of_group = {id(group): self._held(group_model(group, self._voice, data)) for group in self._groups}

    @property
    def teachers(self) -> tuple[ResolvedTeacher, ...]:
        """Those of the first generation; none where nobody was taught by the pool."""
        return self._voice.job.teachers if self._voice else ()

    @property
    def models(self) -> tuple[ReportModel, ...]:
        """Ensemble and members first, then students, then baselines."""
        ensemble = () if self.ensemble is None else (self._held(self.ensemble),)
        return *ensemble, *(self._held(member) for member in self._members), *self._of_group.values()

    def comparisons(self) -> tuple[Comparison, ...]:
        """Each student beside its baseline, then beside the ensemble, as far as they were measured."""
        compared = [comparison for student in self._students() for comparison in self._compared(student)]
        return tuple(comparison for comparison in compared if comparison is not None)

    def nearness(self) -> tuple[Nearness, ...]:
        """Of each student that has a baseline, where the ensemble's classes are known."""
        found = [self._nearness(student) for student in self._students()]
        return tuple(near for near in found if near is not None)

    def last_students(self) -> list[ReportModel]:
        """The last generation of each size that left a result."""
        return last_generations([self._of_group[id(group)] for group in self._students()])

    def _students(self) -> list[Group]:
        return [group for group in self._groups if group.role == "student"]

    def _held(self, model: ReportModel) -> ReportModel:
        return held_against(model, self.ensemble, self._alpha) if self.ensemble is not None else model

    def _compared(self, student: Group) -> Iterator[Comparison | None]:
        mine, baseline = self._of_group[id(student)], baseline_of(student, self._groups)
        if baseline is not None:
            pairs = paired(student, baseline)
            theirs = self._of_group[id(baseline)].model_copy(update={"role": "baseline"})
            yield compare(mine, theirs, [_accuracy(s) - _accuracy(b) for s, b in pairs])
        if self.ensemble is not None and self.ensemble.quality is not None:
            of_ensemble = self.ensemble.quality.accuracy
            yield compare(mine, self.ensemble, [_accuracy(run) - of_ensemble for run in student.finished])

    def _nearness(self, student: Group) -> Nearness | None:
        baseline, heard = baseline_of(student, self._groups), self._voice.predictions if self._voice else None
        if baseline is None or heard is None or not heard.ensemble or self.ensemble is None:
            return None
        return nearness(
            paired(student, baseline),
            heard.ensemble,
            student=self._of_group[id(student)],
            baseline=self._of_group[id(baseline)],
            ensemble=self.ensemble,
        )


def last_generations(students: Sequence[ReportModel]) -> list[ReportModel]:
    """Of each size the last generation that left a result, or its first line where none did."""
    last: dict[str | None, ReportModel] = {}
    for model in students:
        known = last.setdefault(model.point, model)
        if model.quality and (known.quality is None or (model.generation or 0) > (known.generation or 0)):
            last[model.point] = model
    return list(last.values())


def _accuracy(run: Run) -> float:
    assert run.result is not None, "only finished runs are paired"  # noqa: S101
    return run.result.quality.accuracy
