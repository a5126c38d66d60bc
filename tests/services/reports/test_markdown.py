"""The Markdown report: the headline first, whole tables, nothing that a message could break."""

import pytest

from distill.contracts.errors import Problem
from distill.contracts.measures import Selected
from distill.contracts.records import JobState
from services.reports.compose import compose_job, compose_study
from services.reports.markdown import render_markdown

from .examples import NOON, child, composed, job, job_spec, quality, result, study, three_members

STUDY = compose_study(
    study("student", "baseline"),
    {"student": job(teachers=(three_members(),)), "baseline": job("baseline")},
    {
        "student": result(0.874, ensemble=0.92, members=(0.9, 0.91, 0.9)),
        "baseline": result(0.79, role="baseline"),
    },
    {},
    at=NOON,
).model_copy(update={"plots": ("curves.svg", "curves.png", "size.svg", "size.png")})
PAGE = render_markdown(STUDY)


def test_the_headline_follows_the_title():
    assert PAGE.splitlines()[:3] == ["# fashion", "", f"**{STUDY.headline}**"]


SWEEP = composed(
    {
        child(role, point=point, seed=seed): reached + seed / 100
        for point, reached in (("w4", 0.80), ("w8", 0.86), ("w16", 0.91))
        for role in ("student", "baseline")
        for seed in (0, 1)
    }
)
GENERATIONS = composed({child("student", generation=g): 0.84 + g / 100 for g in (1, 2, 3)} | {child("baseline"): 0.84})
ALONE = compose_job(job(), result(0.79), at=NOON)


@pytest.mark.parametrize("report", [ALONE, STUDY, SWEEP, GENERATIONS], ids=["job", "study", "sweep", "generations"])
def test_every_row_of_a_table_has_as_many_cells_as_its_head(report):
    tables = [block.splitlines() for block in render_markdown(report).split("\n\n") if block.startswith("|")]
    assert len(tables) >= 5
    for head, *rows in tables:
        assert {row.count("|") for row in rows} == {head.count("|")}


def test_models_are_told_with_what_they_keep_and_their_score():
    # 87.4 / 92 and 600,000 / 15,000; 0.5 / 40 + 0.5 * 0.05
    row = "| **student** fashion-small | cnn, width 8 | 87.4 % | 0.400 | 0.020 | - | 95.0 % | 40x | 0.038 |"
    assert row in PAGE
    assert "| **student** fashion-small | 15.0k | 60.0kB | 3.00M | 1.00 | 10.00 | 120kB |" in PAGE
    assert "Score: 0.5 x its share of the ensemble's parameters + 0.5 x (1 - keeps)" in PAGE


def test_the_last_epoch_stands_beside_the_best_on_validation_rows():
    early = result(0.874, ensemble=0.92, members=(0.9,) * 3)
    points = [
        p.model_copy(update={"validation_accuracy": a})
        for p, a in zip(early.curve, (0.7, 0.85, 0.9, 0.9, 0.88), strict=True)
    ]
    early = early.model_copy(update={"curve": tuple(points)})
    page = render_markdown(compose_job(job(teachers=(three_members(),)), early, at=NOON))
    assert "| student | 5 | 88.0 % | 87.4 % | 3 | 90.0 % | - |" in page  # the first of two that are equally good
    assert "Its weights were not kept" in page

    assert "of the last epoch's weights. Agrees" in page

    selected = {"selected": Selected(epoch=4, quality=quality(0.869)), "quality": quality(0.869), "last": early.quality}
    kept = early.model_copy(update=selected)
    page = render_markdown(compose_job(job(teachers=(three_members(),)), kept, at=NOON))
    assert "| student | 5 | 88.0 % | 87.4 % | 4 | 90.0 % | 86.9 % |" in page
    assert "Its weights were not kept" not in page
    assert "Its weights were handed over, and every other figure of this report is of them." in page
    assert "of the weights that were handed over: those of the best epoch on validation rows. Agrees" in page
    # the headline's and the table's are the figures of what is handed over
    assert "reaches 86.9 %" in page
    assert "| **student** fashion-small | cnn, width 8 | 86.9 % |" in page


def test_a_training_that_stopped_early_says_after_which_epoch():
    spec = job_spec(training={"epochs": 20}, evaluation={"select": "best", "patience": 2})
    page = render_markdown(
        compose_job(job(teachers=(three_members(),), spec=spec), result(0.874, ensemble=0.92), at=NOON)
    )
    said = "The student stopped early after epoch 5 of 20: its patience of 2 measurements without a higher validation accuracy"
    assert said in page
    assert (
        "the best epoch on validation rows is handed over; stops after 2 measurements in a row without a higher" in page
    )
    assert "stopped early" not in PAGE


def test_seeds_are_told_as_mean_and_deviation():
    page = render_markdown(SWEEP)
    assert "| **student** w8 | cnn, width 8 | 86.5 ± 0.7 % |" in page  # 86 and 87: root of (0.25 + 0.25)
    assert "means over seeds 0 and 1; ± is the sample standard deviation" in page


def test_a_sweep_has_a_row_for_each_size():
    page = render_markdown(SWEEP)
    assert f"## Which size\n\n{SWEEP.frontier.sentence}" in page
    row = "| w16 | cnn, width 16 | 16.0k | 3.20M | 1.60 | 91.5 ± 0.7 % | 91.5 ± 0.7 % | 0.0 points | parameters, FLOPs, ms |"
    assert row in page


def test_generations_are_told_one_by_one():
    page = render_markdown(GENERATIONS)
    assert "| 1 | fashion@1 | 85.0 % | - | - |" in page
    assert "| 3 | generation 2 | 87.0 % | - | +1.0 point |" in page


def test_jobs_that_were_trained_alike_share_a_line():
    settings = render_markdown(SWEEP).split("## How they were trained")[1].split("##")[0].strip().splitlines()
    assert len(settings) == 2
    assert settings[0].startswith("- student, w4, w8 and w16: 0.1 x labels")
    assert "seeds 0 and 1" in settings[0]


def test_fifty_jobs_stay_readable():
    many = {
        child(role, point=f"w{2**size}", seed=seed): 0.8 + size / 50
        for size in range(1, 6)
        for role in ("student", "baseline")
        for seed in range(5)
    }
    page = render_markdown(composed(many))
    shown = page.split("<details>")[0] + page.split("</details>")[1]
    assert max(line.count("|") for line in shown.splitlines()) <= 10
    assert len(shown.splitlines()) < 170
    assert page.count("`fashion-student-w4-s3-g1`") == 1


def test_a_member_that_was_measured_with_the_ensemble_says_how_often_it_agrees():
    done = result(0.874, ensemble=0.92, members=(0.9, 0.91, 0.9))
    measured = done.teachers[0].model_copy(update={"agreements": (0.95, 0.96, 0.97)})
    report = compose_job(job(teachers=(three_members(),)), done.model_copy(update={"teachers": (measured,)}), at=NOON)
    assert [m.agreement for m in report.models if m.role == "member"] == [0.95, 0.96, 0.97]


def test_a_row_says_what_a_model_learned_from():
    assert "| student fashion-small | 27,000 | 1,000 | fashion-mnist [30,000, 60,000) | - | 400 | 25.0 s |" in PAGE
    assert "| member fashion@1 member 0 | 27,000 | 27,000 | fashion-mnist [0, 30,000) | 0 | - | - |" in PAGE


def test_the_objective_is_written_as_a_sum():
    assert (
        "- student: 0.1 x labels + 0.9 x soft targets (temperature 4); answers of fashion@1 in fp16, combined by mean"
        in PAGE
    )


def test_plots_are_shown_and_loading_is_explained():
    assert "![Validation accuracy by step](curves.png)" in PAGE
    assert 'torch.export.load("student.pt2").module()' in PAGE


def test_a_message_cannot_break_the_page():
    problem = Problem(code="invalid_data", message="a | b\n# c")
    failed = job(state=JobState.FAILED, problem=problem)
    page = render_markdown(compose_job(failed, None, at=NOON))
    assert "**The student failed: a \\| b # c. There is no student to compare.**" in page
    assert "\n# c" not in page


def test_a_job_that_never_began_still_has_a_report():
    record = job(state=JobState.CANCELLED).model_copy(update={"attempts": (), "dataset": None})
    page = render_markdown(compose_job(record, None, at=NOON))
    assert "was cancelled" in page
    assert "not known" in page
