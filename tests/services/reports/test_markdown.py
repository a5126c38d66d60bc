"""The Markdown report: the headline first, whole tables, nothing that a message could break."""

from distill.contracts.errors import Problem
from distill.contracts.records import JobState
from services.reports.compose import compose_job, compose_study
from services.reports.markdown import render_markdown

from .examples import NOON, job, result, study, three_members

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


def test_every_row_of_a_table_has_as_many_cells_as_its_head():
    tables = [block.splitlines() for block in PAGE.split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    for head, *rows in tables:
        assert {row.count("|") for row in rows} == {head.count("|")}


def test_a_row_says_what_a_model_learned_from():
    assert "| student fashion-small | 27,000 | 1,000 | fashion-mnist [30,000, 60,000) | - | 400 | 25.0 s |" in PAGE
    assert "| member fashion@1 member 0 | 27,000 | 27,000 | fashion-mnist [0, 30,000) | 0 | - | - |" in PAGE


def test_the_objective_is_written_as_a_sum():
    assert "- student: 0.1 x labels + 0.9 x soft targets (temperature 4); answers of fashion@1 combined by" in PAGE


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
