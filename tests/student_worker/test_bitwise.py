"""A training that is cut at random steps ends as if nobody had cut it: some of the table, and what the table can see."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from redis import Redis
from safetensors.torch import save_file

from distill.contracts.ensemble import EnsembleSpec, MembersSpec
from distill.contracts.objective import LabelsTerm, Target, Term
from distill.contracts.scheme import SchemeSpec
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import ResolvedTeacher
from student_worker.check import check
from tests.student_worker.bitwise.left import OF_THE_RESULT, differing, left_by
from tests.student_worker.bitwise.rank import Cut
from tests.student_worker.bitwise.schemes import SCHEMES, a_job, published
from tests.student_worker.bitwise.table import Row, draw_cuts, row_of, tell

EARLY_END = "offline: the best member, the best epoch, an early end"


@pytest.fixture(scope="module")
def teachers(settings: NodeSettings) -> dict[str, ResolvedTeacher]:
    return published(settings)


@pytest.mark.parametrize("seed", range(20))
def test_cuts_are_at_random_steps_and_where_chance_would_miss(seed: int):
    cuts = draw_cuts(random.Random(seed), num_steps=30, epoch_steps=10, num_cuts=3)
    steps = [cut.step for cut in cuts]
    assert steps == sorted(steps)
    assert (len(cuts), steps[-1]) == (9, 30)
    assert sum(cut.how == "killed" for cut in cuts) == 1
    assert {10, 20} & set(steps)
    assert len(set(steps)) < len(steps)  # one attempt takes no step at all
    assert any(step + 1 in steps for step in steps)  # and one takes a single step
    assert cuts == draw_cuts(random.Random(seed), num_steps=30, epoch_steps=10, num_cuts=3)


def test_every_way_to_be_taught_is_in_the_table_and_every_row_is_a_job(
    settings: NodeSettings, redis: Redis, teachers: dict[str, ResolvedTeacher]
):
    there: set[type] = set()
    for place, scheme in enumerate(SCHEMES):
        job = a_job(scheme, teachers, workers=2, job=f"row-{place}")
        check(job, settings, redis)
        ensemble, terms = job.spec.ensemble, job.spec.objective
        there |= {type(one) for one in (job.spec.scheme, ensemble, ensemble.members, *terms)}
        there |= {type(term.target) for term in terms if not isinstance(term, LabelsTerm)}
    known = {one for union in (SchemeSpec, EnsembleSpec, MembersSpec, Term, Target) for one in kinds_of(union)}
    assert len(known) > 40
    assert known - there == set()


def kinds_of(union: object) -> tuple[type, ...]:
    return get_args(get_args(union)[0])


@pytest.mark.long
def test_two_workers_are_cut_and_learn_what_they_would_have(
    settings: NodeSettings, redis: Redis, teachers: dict[str, ResolvedTeacher]
):
    scheme = "self: average, view, last layer, and a served teacher"
    assert row_of(settings, redis, teachers, scheme, workers=2, seed=0, num_cuts=1).differing == ()


def what_was_left(folder: Path) -> Path:
    """A checkpoint and a result, as small as can be."""
    checkpoint, result = folder / "checkpoints" / "step-00000030", folder / "result.json"
    for place in (checkpoint, folder / "artifacts"):
        place.mkdir(parents=True)
        save_file({"head.weight": torch.arange(4.0), "head.bias": torch.zeros(1)}, place / "model.safetensors")
    (checkpoint / "state.json").write_text(json.dumps({"state": {"curve": [{"train_loss": 0.1 + 0.2, "seconds": 1}]}}))
    (folder / "predictions.json").write_text(json.dumps({"student": [3, 7]}))
    result.write_text(json.dumps(dict.fromkeys(OF_THE_RESULT, 0.25) | {"phases": {"check": 1}, "attempt": 1}))
    return result


def a_bit_of_a_weight(folder: Path) -> None:
    """Change the last bit of a zero, which torch calls equal."""
    save_file({"head.weight": torch.arange(4.0), "head.bias": -torch.zeros(1)}, folder / "artifacts/model.safetensors")


def a_weight_that_is_missing(folder: Path) -> None:
    save_file({"head.weight": torch.arange(4.0)}, folder / "checkpoints/step-00000030/model.safetensors")


def a_loss_in_its_last_digit(folder: Path) -> None:
    state = {"state": {"curve": [{"train_loss": 0.3, "seconds": 1}]}}
    (folder / "checkpoints/step-00000030/state.json").write_text(json.dumps(state))


def a_prediction(folder: Path) -> None:
    (folder / "predictions.json").write_text(json.dumps({"student": [3, 1]}))


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (a_bit_of_a_weight, "artifacts.model: head.bias"),
        (a_weight_that_is_missing, "checkpoint.model: head.bias"),
        (a_loss_in_its_last_digit, "state.state.curve.0.train_loss"),
        (a_prediction, "predictions.student.1"),
    ],
)
def test_what_is_not_the_same_to_the_last_bit_is_seen(tmp_path: Path, change: Callable[[Path], None], seen: str):
    results = [what_was_left(tmp_path / name) for name in ("whole", "cut")]
    change(tmp_path / "cut")
    whole, cut = (left_by(result.parent / "checkpoints" / "step-00000030", result) for result in results)
    assert differing(whole, cut) == [seen]


def test_clocks_are_no_matter_of_bits(tmp_path: Path):
    whole, cut = (what_was_left(tmp_path / name) for name in ("whole", "cut"))
    state = {"state": {"curve": [{"train_loss": 0.1 + 0.2, "seconds": 9}]}}
    (cut.parent / "checkpoints/step-00000030/state.json").write_text(json.dumps(state))
    left = [left_by(result.parent / "checkpoints" / "step-00000030", result) for result in (whole, cut)]
    assert differing(*left) == []


def test_the_table_counts_the_rows_that_differ():
    same = Row("peers", workers=2, num_steps=30, cuts=(Cut(3), Cut(7, "killed")), num_pieces=9, differing=())
    other = Row("view", workers=1, num_steps=30, cuts=(Cut(4),), num_pieces=9, differing=("loss",))
    said: list[str] = []
    assert tell([same, other, same], said.append) == 1
    assert said[1:3] == [
        "| peers | 2 | 3, 7 (killed) of 30 | yes |",
        "| view | 1 | 4 of 30 | no: 1 of 9 differ (loss) |",
    ]


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_any_scheme_is_cut_and_learns_what_it_would_have(
    settings: NodeSettings, redis: Redis, teachers: dict[str, ResolvedTeacher], scheme: str, workers: int
):
    assert row_of(settings, redis, teachers, scheme, workers=workers, seed=1, num_cuts=3).differing == ()


@pytest.mark.long
def test_a_training_that_ends_early_is_cut_and_selects_what_it_would_have(
    settings: NodeSettings, redis: Redis, teachers: dict[str, ResolvedTeacher]
):
    row = row_of(settings, redis, teachers, EARLY_END, workers=1, seed=0, num_cuts=1)
    assert row.differing == ()
    assert row.num_steps < SCHEMES[EARLY_END]["training"]["epochs"] * 10
