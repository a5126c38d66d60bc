"""What is wrong with a job file, in its own words."""

from typing import Any

import pytest
from pydantic import ValidationError

from distill.contracts.errors import Problem
from distill.contracts.explain import explain
from distill.contracts.job import JobSpec
from distill.contracts.teachers import MemberFromJob
from tests.services.control_plane.records import JOB


def problems_of(**changes: Any) -> list[Problem]:
    body = JOB | changes
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(body)
    return explain(caught.value.errors(), body)


def the_problem_of(**changes: Any) -> Problem:
    [problem] = problems_of(**changes)
    return problem


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"dataset": {"source": "digits", "labels": {"kind": "count", "count": 0}}}, "dataset.labels.count"),
        ({"dataset": {"source": "digits", "labels": {"kind": "count"}}}, "dataset.labels.count"),
        ({"dataset": {"source": "imagenet"}}, "dataset.source"),
        ({"dataset": {}}, "dataset.source"),
        ({"objective": [{"kind": "labels"}, {"kind": "labels", "weight": -1}]}, "objective.1.weight"),
        ({"student": {"source": "zoo", "name": "mlp", "args": {"hidden": [4, 0]}}}, "student.args.hidden.1"),
        ({"training": {"optimizer": {"kind": "sgd", "lr": float("nan")}}}, "training.optimizer.lr"),
        ({"compute": {"workers": 3}}, "training.batch_size"),
        ({"objective": [{"kind": "soft_targets"}]}, "objective.0.target"),
    ],
)
def test_a_field_is_named_as_the_job_file_names_it(change: dict[str, Any], field: str):
    problem = the_problem_of(**change)
    assert problem.field == field
    assert problem.message.startswith(f"{field}: ")


def test_a_misspelt_key_is_answered_with_the_one_that_was_meant():
    assert the_problem_of(objective=[{"kind": "labels", "wieght": 2}]).hint == "did you mean 'weight'?"


def test_a_misspelt_key_that_is_right_elsewhere_is_still_misspelt():
    assert "epoch" in MemberFromJob.model_fields
    assert the_problem_of(training={"epoch": 3, "batch_size": 64}).hint == "did you mean 'epochs'?"


def test_a_key_in_the_wrong_place_is_told_so():
    assert the_problem_of(epochs=3).hint == "this key belongs elsewhere in the file"


def test_what_came_and_what_was_expected_stand_apart():
    problem = the_problem_of(student={"source": "zoo", "name": "resnet9000"})
    assert problem.got == "'resnet9000'"
    assert "'resnet8x4'" in (problem.expected or "")


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"student": {"source": "zoo", "name": "resnet9"}}, "did you mean 'resnet8'?"),
        ({"training": {"optimizer": {"kind": "AdamW"}}}, "did you mean 'adamw'?"),
        ({"dataset": {"source": "fashionmnist"}}, "did you mean 'fashion-mnist'?"),
        ({"dataset": {"source": "imagenet"}}, None),
    ],
)
def test_a_value_that_looks_like_one_of_few_is_answered_with_it(change: dict[str, Any], hint: str | None):
    assert the_problem_of(**change).hint == hint


def test_a_list_is_asked_for_in_the_files_own_words():
    assert the_problem_of(objective={"kind": "labels"}).message == "objective: must be a list"


def test_a_pattern_is_said_in_words():
    assert "lower-case letters" in the_problem_of(name="My Job").message


def test_each_of_several_errors_is_told_and_what_follows_from_one_is_not():
    fields = [one.field for one in problems_of(epochs=3, objective=[{"kind": "labels", "weight": "x"}])]
    assert sorted(map(str, fields)) == ["epochs", "objective.0.weight"]
