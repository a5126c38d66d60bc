"""What the gallery found, as rows: means and spreads over seeds, and whether a gain is more than the seeds' own noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

from distill.contracts.study import StudySpec
from examples.gallery.runs import Result


@dataclass(frozen=True)
class Row:
    """One student of one example, over its seeds, beside the same student without teachers."""

    family: str
    name: str
    file: Path
    students: tuple[Result, ...]
    """One a seed, of the last generation."""
    baselines: tuple[Result, ...]
    """One a seed; none where there is no baseline."""

    @property
    def gain(self) -> float | None:
        """Mean accuracy beyond the baseline's."""
        return beyond(self.students, self.baselines)[0] if self.baselines else None

    @property
    def noise(self) -> float | None:
        """Two standard errors of the gain, paired by seed: a lesser gain may be chance. None where one seed can't tell."""
        return beyond(self.students, self.baselines)[1] if self.baselines else None

    @property
    def pays(self) -> bool:
        """The student is better than its baseline by more than the noise, where that is known."""
        return self.gain is not None and self.noise is not None and self.gain > self.noise


def rows_of(file: Path, study: StudySpec, results: dict[str, Result]) -> list[Row]:
    """The rows of one example: one, or one for each point of its sweep."""
    points = dict.fromkeys(child.point for child in study.children().values())
    return [_row(file, study, results, point) for point in points]


def accuracies(results: Sequence[Result]) -> list[float]:
    """Of each seed."""
    return [result.accuracy for result in results]


def beyond(results: Sequence[Result], others: Sequence[Result]) -> tuple[float, float | None]:
    """The mean difference in accuracy at the same seed, and two standard errors of it; None for a single seed.

    Both are in the order of their seeds.
    """
    differences = [one - other for one, other in zip(accuracies(results), accuracies(others), strict=True)]
    error = 2 * stdev(differences) / sqrt(len(differences)) if len(differences) > 1 else None
    return fmean(differences), error


def _row(file: Path, study: StudySpec, results: dict[str, Result], point: str | None) -> Row:
    children = {key: child for key, child in study.children().items() if child.point == point}

    def of(role: str, generation: int = 1) -> tuple[Result, ...]:
        wanted = (role, generation)
        return tuple(results[key] for key, child in children.items() if (child.role, child.generation) == wanted)

    baselines = of("baseline")
    if study.generations > 1 and study.job.learns_from_labels_alone:
        baselines = of("student")  # the first generation is what later ones are compared with
    name = file.stem if point is None else f"{file.stem} {point}"
    return Row(file.parent.name, name, file, of("student", study.generations), baselines)
