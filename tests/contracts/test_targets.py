"""What a term learns from must be there at every moment: schedules, schemes and targets that would teach nothing."""

from typing import Any

import pytest
from pydantic import ValidationError

from distill.contracts.explain import explain
from distill.contracts.job import JobSpec
from distill.contracts.schedules import extremes, turns, value_at

MLP = {"source": "zoo", "name": "mlp"}
LABELS = {"kind": "labels"}
SOFT_TARGETS = {"kind": "soft_targets"}
TEACHERS = [{"name": "wise@1"}]
ONLINE = {"kind": "online", "peers": [MLP]}
LATE = {"kind": "steps", "values": [0, 1], "at": [0.5]}
EARLY = {"kind": "linear", "start": 1, "stop": 0, "end": 0.6}


def a_job(*terms: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"name": "a", "dataset": {"source": "digits"}, "student": MLP, "objective": list(terms)} | changes


def refused(body: dict[str, Any]) -> tuple[str | None, str]:
    """Field and words of the only problem."""
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(body)
    (problem,) = explain(caught.value.errors(), body)
    return problem.field, problem.message


def from_(source: str, **changes: Any) -> dict[str, Any]:
    return SOFT_TARGETS | {"target": {"from": source}} | changes


@pytest.mark.parametrize(
    ("schedule", "field", "said"),
    [
        ({"kind": "linear", "start": 0, "stop": 1, "end": 1.5}, "weight.end", "less than or equal to 1"),
        ({"kind": "linear", "start": 0, "stop": 1, "begin": 0.5, "end": 0.5}, "weight", "'end', 0.5, must come after"),
        ({"kind": "cosine", "start": 1}, "weight.stop", "is missing"),
        ({"kind": "steps", "values": [1, 2, 3], "at": [0.5, 0.2]}, "weight", "'at' must rise"),
        ({"kind": "steps", "values": [1, 2], "at": [1]}, "weight", "'at' must rise"),
        ({"kind": "steps", "values": [1, 2, 3], "at": [0.5]}, "weight", "3 values need 2 moments"),
        ({"kind": "linear", "start": 1, "stop": -0.1}, "weight", "its least is -0.1"),
        ({"start": 1, "stop": 2}, "weight", "'kind' is linear, cosine or steps"),
        ({"kind": "sine", "start": 1, "stop": 2}, "weight", "'kind' is linear, cosine or steps"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_where_it_stands(schedule: dict[str, Any], field: str, said: str):
    named, message = refused(a_job(LABELS, LABELS | {"weight": schedule}))
    assert named == f"objective.1.{field}"
    assert said in message


@pytest.mark.parametrize(
    "temperature",
    [0, -1, 1001, {"kind": "linear", "start": 4, "stop": 0}, {"kind": "steps", "values": [4, 0, 4], "at": [0.1, 0.2]}],
)
@pytest.mark.parametrize("kind", ["soft_targets", "reverse_kl", "jensen_shannon", "decoupled", "dist"])
def test_a_temperature_is_more_than_0_at_every_moment(kind: str, temperature: Any):
    field, message = refused(a_job({"kind": kind, "temperature": temperature}, teachers=TEACHERS))
    assert field == "objective.0.temperature"
    assert "> 0 and <= 1000 throughout" in message


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ([LABELS | {"weight": 0}], "every weight is 0"),
        ([LABELS | {"weight": {"kind": "steps", "values": [0, 0], "at": [0.5]}}] * 2, "every weight is 0"),
        ([LABELS | {"weight": LATE}], "from progress 0 to 0.5 every weight is 0"),
        ([LABELS | {"weight": EARLY}], "from progress 0.6 to 1 every weight is 0"),
        ([LABELS | {"weight": EARLY}, LABELS | {"weight": LATE | {"at": [0.75]}}], "from progress 0.6 to 0.75"),
    ],
)
def test_something_is_learned_throughout(terms: list[dict[str, Any]], said: str):
    field, message = refused(a_job(*terms))
    assert field == "objective"
    assert said in message


def test_one_term_may_end_where_another_begins():
    assert JobSpec.model_validate(a_job(LABELS | {"weight": EARLY}, LABELS | {"weight": LATE}))
    assert JobSpec.model_validate(a_job(LABELS | {"weight": {"kind": "linear", "start": 0, "stop": 1}}))


def test_labels_that_nobody_has_teach_nothing():
    unlabelled = {"source": "digits", "labels": {"kind": "none"}}
    terms = LABELS | {"weight": EARLY}, SOFT_TARGETS | {"weight": LATE}
    assert JobSpec.model_validate(a_job(*terms, teachers=TEACHERS))
    assert "from progress 0 to 0.5" in refused(a_job(*terms, teachers=TEACHERS, dataset=unlabelled))[1]


def test_between_two_turns_a_schedule_is_zero_throughout_or_never():
    for schedule in (EARLY, LATE, {"kind": "cosine", "start": 0, "stop": 2, "begin": 0.25}):
        weight = JobSpec.model_validate(a_job(LABELS, LABELS | {"weight": schedule})).objective[1].weight
        moments = [0.0, *turns(weight), 1.0]
        for place in range(len(moments) - 1):
            begin, end = moments[place : place + 2]
            inside = [value_at(weight, begin + (end - begin) * share / 10) for share in range(1, 10)]
            assert len({value > 0 for value in inside}) == 1
        assert extremes(weight)[1] > 0


@pytest.mark.parametrize(
    ("scheme", "source", "said"),
    [
        ({"kind": "offline"}, "peers", "set scheme.kind and scheme.peers"),
        ({"kind": "self"}, "peers", "set scheme.kind and scheme.peers"),
        ({"kind": "offline"}, "self", "set scheme.kind"),
        ({"kind": "self"}, "average", "set scheme.average"),
        ({"kind": "self"}, "view", "set scheme.view"),
        (ONLINE, "fused", "set scheme.fusion"),
        (ONLINE, "average", "set scheme.average"),
        ({"kind": "offline"}, "served", "'teachers' is empty"),
    ],
)
def test_a_target_that_nobody_supplies_is_refused(scheme: dict[str, Any], source: str, said: str):
    # the unused scheme is no second problem: the first is told alone
    field, message = refused(a_job(LABELS, from_(source, at="stages.0"), scheme=scheme))
    assert field == "objective.1.target"
    assert said in message


@pytest.mark.parametrize(
    ("scheme", "source", "field"),
    [
        (ONLINE, None, "scheme.peers"),
        (ONLINE | {"fusion": {"taps": ["head", "head"]}}, "peers", "scheme.fusion"),
        ({"kind": "self", "average": {}}, None, "scheme.average"),
        ({"kind": "self", "average": {}, "view": {}}, "average", "scheme.view"),
    ],
)
def test_who_would_be_trained_or_computed_in_vain_is_refused(
    scheme: dict[str, Any], source: str | None, field: str
):  # fmt: skip
    terms = [LABELS, *([from_(source)] if source else [])]
    named, message = refused(a_job(*terms, scheme=scheme))
    assert named == field
    assert "no term of the objective learns from it" in message


def test_who_teaches_with_the_weight_0_teaches_in_vain():
    named, _ = refused(a_job(LABELS, from_("peers", weight=0), scheme=ONLINE))
    assert named == "scheme.peers"


def test_the_fused_head_has_no_modules():
    scheme = ONLINE | {"fusion": {"taps": ["head", "head"]}}
    hint = {"kind": "hint", "pairs": [{"student": "pool", "teacher": "pool"}], "target": {"from": "fused"}}
    field, message = refused(a_job(LABELS, from_("fused"), hint, scheme=scheme))
    assert field == "objective.2.target"
    assert "compares modules" in message


def test_a_head_for_each_member_needs_each_member():
    ensemble = {"combine": "per_member_heads", "members": {"kind": "best"}}
    field, message = refused(a_job(SOFT_TARGETS, teachers=TEACHERS, ensemble=ensemble))
    assert field == "ensemble.members"
    assert "stay as they were drawn" in message


def test_teachers_whose_every_term_weighs_nothing_are_refused():
    assert refused(a_job(LABELS, SOFT_TARGETS | {"weight": 0}, teachers=TEACHERS))[0] == "teachers"


def test_an_ensemble_without_teachers_is_refused():
    assert refused(a_job(LABELS, ensemble={"combine": "per_member_heads"}))[0] == "ensemble"


def test_the_student_can_not_learn_its_last_word_from_itself():
    scheme = {"kind": "self"}
    assert refused(a_job(LABELS, from_("self"), scheme=scheme))[0] == "objective.1.at"
    pairs = [{"student": "a", "teacher": "b"}, {"student": "b", "teacher": "b"}]
    hint = {"kind": "hint", "pairs": pairs, "target": {"from": "self"}}
    assert refused(a_job(LABELS, hint, scheme=scheme))[0] == "objective.1.pairs.1"
    assert JobSpec.model_validate(
        a_job(LABELS, from_("self", at="stages.0"), hint | {"pairs": pairs[:1]}, scheme=scheme)
    )


@pytest.mark.parametrize(
    "term", [{"kind": "dist", "inter": 0, "intra": 0}, {"kind": "decoupled", "alpha": 0, "beta": 0}]
)
def test_a_term_whose_parts_all_weigh_nothing_is_refused(term: dict[str, Any]):
    field, message = refused(a_job(LABELS, term, teachers=TEACHERS))
    assert field == "objective.1"
    assert "are both 0" in message


@pytest.mark.parametrize("target", [{"from": "moon"}, {"teacher": 0}])
def test_where_a_target_comes_from_is_called_as_the_job_file_calls_it(target: dict[str, Any]):
    assert refused(a_job(SOFT_TARGETS | {"target": target}, teachers=TEACHERS))[0] == "objective.0.target.from"
