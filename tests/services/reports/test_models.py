"""What the table of models says of what each model learned from."""

import pytest

from services.reports.models import agreement_with_ensemble, overlap, teacher_models, trained_model

from .examples import (
    facts,
    job,
    job_spec,
    member,
    predictions,
    result,
    teacher,
    three_members,
)


@pytest.mark.parametrize(
    ("first", "second", "rows"),
    [
        ((0, 30_000), (30_000, 60_000), 0),  # ranges leave their end out, so they only touch
        ((0, 30_000), (20_000, 60_000), 10_000),
        ((0, 60_000), (10_000, 20_000), 10_000),
        ((40_000, 50_000), (0, 10_000), 0),
    ],
)
def test_the_overlap_is_the_intersection_of_two_row_ranges(first, second, rows):
    assert overlap(facts(*first), facts(*second)) == overlap(facts(*second), facts(*first)) == rows


def test_rows_of_two_data_sets_are_not_compared():
    assert overlap(facts(), facts(digest="sha256:another")) is None


def test_an_ensemble_is_as_large_and_as_slow_as_all_its_members():
    ensemble, *members = teacher_models(job(teachers=(three_members(),)), None)
    assert (ensemble.size.parameters, ensemble.size.bytes) == (600_000, 2_400_000)
    assert ensemble.size.latency_ms == {1: 12.0, 64: 120.0}
    assert [m.size.parameters for m in members] == [200_000] * 3


def test_two_teachers_make_one_ensemble():
    teachers = (three_members(), teacher(member(50_000), name="shapes", version=2))
    ensemble, *members = teacher_models(job(teachers=teachers), None)
    assert (ensemble.name, ensemble.architecture) == ("fashion@1 + shapes@2", "4 members")
    assert ensemble.size.parameters == 650_000
    assert members[-1].name == "shapes@2 member 0"


def test_members_carry_their_measured_quality_in_order():
    done = result(0.88, ensemble=0.92, members=(0.90, 0.91, 0.89))
    _, *members = teacher_models(job(teachers=(three_members(),)), done)
    assert [m.quality.accuracy for m in members] == [0.90, 0.91, 0.89]


def test_a_member_says_how_many_of_the_students_rows_it_has_seen():
    seen = three_members(trained_on=facts(20_000, 50_000, labels=27_000))
    _, first, *_ = teacher_models(job(teachers=(seen,)), None)
    assert first.learned_from.overlap_rows == 20_000
    assert first.learned_from.num_labels == 27_000


def test_a_member_from_a_file_has_an_unknown_past():
    _, only = teacher_models(job(teachers=(teacher(member()),)), None)
    assert only.learned_from is None


def test_a_taught_student_learns_from_all_rows_and_its_baseline_from_labelled_ones():
    student = trained_model(job(teachers=(three_members(),)), result(0.88), role="student", agreement=None)
    baseline = trained_model(job("baseline"), result(0.79), role="baseline", agreement=None)
    assert (student.learned_from.num_rows, student.learned_from.num_labels) == (27_000, 1_000)
    assert (baseline.learned_from.num_rows, baseline.learned_from.num_labels) == (1_000, 1_000)


def test_a_student_without_a_labels_term_used_no_label():
    spec = job_spec(objective=[{"kind": "soft_targets"}])
    record = job(teachers=(three_members(),), spec=spec)
    assert trained_model(record, result(0.88), role="student", agreement=None).learned_from.num_labels == 0


def test_training_time_is_that_of_all_epochs():
    model = trained_model(job(), result(0.88, steps=400), role="student", agreement=None)
    assert (model.learned_from.steps, model.learned_from.seconds) == (400, 25.0)  # 5 epochs of 5 seconds


def test_agreement_is_the_share_of_test_rows_with_the_same_class():
    asked = predictions((0, 0, 0, 0), ensemble=(0, 1, 2, 0))
    assert agreement_with_ensemble(predictions((0, 1, 0, 0)), asked) == 0.75


def test_agreement_is_unknown_where_test_rows_or_the_ensemble_differ():
    asked = predictions((0, 0, 0, 0), ensemble=(0, 1, 2, 0))
    others = predictions((0, 1, 2, 3)).model_copy(update={"truth": (3, 2, 1, 0)})
    assert agreement_with_ensemble(others, asked) is None
    assert agreement_with_ensemble(predictions((0, 1, 2, 3)), predictions((0, 1, 2, 3))) is None
    assert agreement_with_ensemble(None, asked) is None
