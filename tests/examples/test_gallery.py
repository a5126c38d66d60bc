"""The gallery: every kind of knowledge has a file, what was trained is not trained again, and the page counts right."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from distill.contracts.ensemble import EnsembleSpec, MembersSpec
from distill.contracts.job import JobSpec
from distill.contracts.objective import Target, Term
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import CheckedMember
from examples.gallery.__main__ import SEEDS, gallery, shipped, study_of
from examples.gallery.page import COMPARED, page, table
from examples.gallery.rows import Row
from examples.gallery.runs import TEACHERS, Result, Runs, code_digest

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
TINY: dict[str, Any] = {
    "name": "tiny",
    "dataset": {"source": "digits", "labels": {"kind": "count", "count": 20}},
    "student": {"source": "zoo", "name": "mlp", "args": {"hidden": [4]}},
    "training": {"epochs": 1, "batch_size": 640},
}
TAUGHT = TINY | {"teachers": [{"name": "tutor@1"}], "objective": [{"kind": "soft_targets"}, {"kind": "labels"}]}


def specs() -> list[JobSpec]:
    return [study_of(file).job for file in shipped()]


def kinds(union: Any, field: str) -> set[str]:
    """The word that names each form of a tagged union in a job file."""
    forms: tuple[type[BaseModel], ...] = get_args(get_args(union)[0])
    return {get_args(form.model_fields[field].annotation)[0] for form in forms}


def written(folder: Path, name: str, content: dict[str, Any]) -> Path:
    file = folder / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content))
    return file


def result(accuracy: float, ensemble: float | None = None) -> Result:
    return Result(
        accuracy=accuracy, ensemble=ensemble, parameters=10, seconds=2.0, at=NOON, member=CheckedMember(folder="runs/a")
    )


def row(name: str, students: list[float], baselines: list[float], family: str = "response") -> Row:
    taught = tuple(result(accuracy, 0.95) for accuracy in students)
    return Row(family, name, Path(name), taught, tuple(map(result, baselines)))


@pytest.fixture
def runs(settings: NodeSettings, tmp_path: Path) -> Runs:
    """A gallery with storage of its own, whose teachers' files are the test's."""
    return Runs(settings.model_copy(update={"storage": tmp_path / "storage"}), teachers=tmp_path / "teachers")


def test_every_kind_of_loss_combination_scheme_and_target_has_an_example():
    shown = specs()
    terms = [term for spec in shown for term in spec.objective]
    assert {term.kind for term in terms} == kinds(Term, "kind")
    assert {spec.ensemble.combine for spec in shown} == kinds(EnsembleSpec, "combine")
    assert {spec.ensemble.members.kind for spec in shown} == kinds(MembersSpec, "kind")
    assert {spec.scheme.kind for spec in shown} == {"offline", "online", "self"}
    assert {term.target.source for term in terms if hasattr(term, "target")} == kinds(Target, "source")
    assert {form for term in terms if (form := getattr(term, "form", None))} == {"paper", "code"}


def test_every_example_says_in_its_first_line_what_it_shows_and_is_called_as_its_file():
    for file in shipped():
        assert file.read_text().startswith("# "), file
        assert study_of(file).name == file.stem


def test_every_teacher_of_the_examples_can_be_made():
    needed = {use.name.partition("@")[0] for spec in specs() for use in spec.teachers}
    assert needed == {file.stem for file in TEACHERS.glob("*.yaml")}


def test_what_was_trained_is_not_trained_again_and_students_share_a_baseline(runs: Runs, tmp_path: Path):
    written(tmp_path / "teachers", "tutor", TINY | {"training": {"epochs": 2}})
    one = written(tmp_path / "family", "one", TAUGHT)
    other = written(tmp_path / "family", "other", TAUGHT | {"objective": [{"kind": "logits"}, {"kind": "labels"}]})

    rows, skipped = gallery([one, other], runs)

    assert (len(rows), skipped) == (2, [])
    assert runs.num_trained == 1 + 3 * len(SEEDS)  # the teacher, the students of two files, the baselines once
    assert gallery([one, other], runs)[0] == rows
    assert runs.num_trained == 1 + 3 * len(SEEDS)


def test_another_objective_is_another_training(runs: Runs):
    first = runs.job(JobSpec.model_validate(TINY | {"name": "a"}))
    again = runs.job(JobSpec.model_validate(TINY | {"name": "b"}))
    smooth = runs.job(JobSpec.model_validate(TINY | {"objective": [{"kind": "labels", "smoothing": 0.1}]}))
    assert again == first
    assert smooth.member.folder != first.member.folder
    assert runs.num_trained == 2


def test_what_another_torch_trained_is_trained_again(settings: NodeSettings, tmp_path: Path):
    def trained_by(torch: str) -> int:
        runs = Runs(settings.model_copy(update={"storage": tmp_path}), teachers=tmp_path, ran={"torch": torch})
        runs.job(JobSpec.model_validate(TINY))
        return runs.num_trained

    assert [trained_by("2.0"), trained_by("2.0"), trained_by("2.1")] == [1, 0, 1]


@pytest.mark.parametrize("file", ["distill/science/losses.py", "examples/in_process.py"])
def test_other_code_is_another_training(tmp_path: Path, file: str):
    program = tmp_path / file
    program.parent.mkdir(parents=True)
    program.write_text("once = 1\n")
    once = code_digest(tmp_path)
    assert code_digest(tmp_path) == once
    program.write_text("once = 2\n")
    assert code_digest(tmp_path) != once


def test_a_later_generation_is_taught_by_the_one_before(runs: Runs, tmp_path: Path):
    study = {
        "name": "again",
        "generations": 2,
        "seeds": [0],
        "later_objective": [{"kind": "soft_targets"}],
        "job": TINY,
    }
    ((row,), _) = gallery([written(tmp_path / "schemes", "again", study)], runs)
    first = runs.job(JobSpec.model_validate(TINY))
    assert row.baselines == (first,)
    assert row.students[0].ensemble == first.accuracy


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (TAUGHT, "no file tutor.yaml says how that is made"),
        (TINY | {"dataset": {"source": "npz", "train": "absent.npz"}}, "absent.npz"),
    ],
)
def test_what_is_not_there_is_skipped_with_a_reason(runs: Runs, tmp_path: Path, content: dict[str, Any], reason: str):
    rows, (skipped,) = gallery([written(tmp_path / "family", "lost", content)], runs)
    assert rows == []
    assert skipped.startswith("family/lost: ")
    assert reason in skipped


def test_a_line_has_means_and_spreads():
    line = table([row("kl", [0.90, 0.92, 0.94], [0.80, 0.80, 0.86])]).splitlines()[-1]
    # deviations: sqrt((2^2 + 2^2) / 2) = 2.0, and of 80, 80, 86 around 82 sqrt((4 + 4 + 16) / 2) = 3.5
    assert line == "| response | kl | 92.0 % ± 2.0 | 82.0 % ± 3.5 | **+10.0** | 95.0 % | 2.0 |"


def test_a_gain_within_the_noise_of_the_seeds_is_named_as_none():
    clear = row("clear", [0.90, 0.92, 0.94], [0.80, 0.80, 0.86])
    # 10, 12 and 8 points at the same seed, a spread of 2: two standard errors are 4 / sqrt(3) = 2.3 points
    assert clear.noise == pytest.approx(0.0230940)
    # 0, 6 and 0 points: a spread of sqrt(12), and 2 sqrt(12 / 3) = 4 is more than their mean
    faint = row("faint", [0.80, 0.86, 0.86], [0.80, 0.80, 0.86])
    assert faint.noise == pytest.approx(0.04)
    text = page([clear, faint], ["domains/reviews: no data"], command="make examples")
    assert "1 of 2 examples" in text
    assert "or not at all: response/faint (+2.0)" in text
    assert "on 2026-11-24" in text
    assert "Skipped: domains/reviews: no data." in text


def test_a_gain_that_every_seed_has_pays_however_far_the_seeds_lie_apart():
    assert row("paired", [0.72, 0.82, 0.93], [0.70, 0.80, 0.90]).pays


def test_one_seed_can_not_tell_whether_it_pays():
    alone = row("alone", [0.9], [0.8])
    assert (alone.gain, alone.noise, alone.pays) == (pytest.approx(0.1), None, False)


def test_heads_are_compared_with_averaged_answers_seed_by_seed():
    rows = [row(name, [0.90, 0.92], [0.8, 0.8], family="ensembles") for name in COMPARED]
    rows[COMPARED.index("each")] = row("each", [0.92, 0.96], [0.8, 0.8], family="ensembles")
    lines = page(rows, [], command="make examples").splitlines()
    # differences of 2 and 4 points: their mean's standard error is sqrt(2) / sqrt(2) = 1
    assert "| each | 94.0 % ± 2.8 | 10 | +3.0 ± 2.0 |" in lines
    assert "| mean-probability | 91.0 % ± 1.4 | 10 | - |" in lines
    assert lines[-1] == "More than that from averaged answers differs: each."
