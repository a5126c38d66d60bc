"""What records and manifests show of a job's teachers: who is heard, which modules they have, what their classes are."""

import itertools
from typing import Any

import pytest

from distill.contracts.errors import InvalidSpec
from distill.contracts.job import JobSpec
from distill.contracts.teachers import ResolvedTeacher
from services.control_plane.checks import check_teachers
from tests.services.control_plane.records import JOB, MANIFEST

SOFT_TARGETS = {"kind": "soft_targets"}
MASKED = {"kind": "steps", "values": [[0], [0, 2]], "at": [0.5]}


def wise(**changes: Any) -> ResolvedTeacher:
    """Three members, at positions 0 to 2; each has the one module ``stages.0``."""
    manifest = MANIFEST.model_copy(update=changes)
    return ResolvedTeacher(name="wise", version=1, digest=manifest.digest, weight=1.0, manifest=manifest)


def a_job(*terms: dict[str, Any], num_teachers: int = 1, **changes: Any) -> JobSpec:
    named = {"teachers": [{"name": "wise@1"}] * num_teachers, "objective": list(terms or [SOFT_TARGETS])}
    return JobSpec.model_validate(JOB | named | changes)


def refused(spec: JobSpec, *teachers: ResolvedTeacher) -> InvalidSpec:
    with pytest.raises(InvalidSpec) as caught:
        check_teachers(spec, teachers or (wise(),), "")
    return caught.value


def weighted(*weights: float, members: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"combine": "weighted", "weights": list(weights)} | ({"members": members} if members else {})


def one_of(number: int) -> dict[str, Any]:
    return SOFT_TARGETS | {"target": {"from": "served", "teacher": 0, "member": number}}


def test_weights_are_as_many_as_members():
    error = refused(a_job(ensemble=weighted(1, 1)))
    assert error.details["field"] == "ensemble.weights"
    assert "3 members in all, and this gives 2" in error.message


@pytest.mark.parametrize("kind", ["in_order", "random", "best"])
def test_who_speaks_alone_needs_a_weight(kind: str):
    error = refused(a_job(ensemble=weighted(1, 0, 1, members={"kind": kind})))
    assert error.details["field"] == "ensemble.weights"
    assert "only member 1 would be heard, with the weight 0" in error.message
    check_teachers(a_job(ensemble=weighted(1, 2, 1, members={"kind": kind})), (wise(),), "")


def test_a_mask_never_leaves_only_members_of_weight_0():
    assert refused(a_job(ensemble=weighted(0, 1, 1, members=MASKED))).details["field"] == "ensemble.weights"
    check_teachers(a_job(ensemble=weighted(1, 0, 0, members=MASKED)), (wise(),), "")


@pytest.mark.parametrize("weights", [w for w in itertools.product((0.0, 1.0), repeat=3) if any(w)])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_target_of_one_member_is_refused_exactly_where_its_weight_is_0(weights: tuple[float, ...], number: int):
    spec = a_job(SOFT_TARGETS, one_of(number), ensemble=weighted(*weights))
    if weights[number]:
        check_teachers(spec, (wise(),), "")
    else:
        assert refused(spec).details["field"] == "objective.1.target"


def test_a_target_whom_the_mask_never_lets_speak_is_refused():
    ensemble = {"combine": "mean_probability", "members": MASKED}
    error = refused(a_job(SOFT_TARGETS, one_of(1), ensemble=ensemble))
    assert error.details["field"] == "objective.1.target"
    assert "it means member 1, and 'ensemble.members' never lets them speak" in error.message
    check_teachers(a_job(SOFT_TARGETS, one_of(2), ensemble=ensemble), (wise(),), "")


def test_members_are_counted_over_all_teachers():
    second = SOFT_TARGETS | {"target": {"from": "served", "teacher": 1, "member": 0}}
    ensemble = {"combine": "mean_probability", "members": {"kind": "steps", "values": [[0], [3]], "at": [0.5]}}
    check_teachers(a_job(SOFT_TARGETS, second, num_teachers=2, ensemble=ensemble), (wise(), wise()), "")
    beyond = ensemble | {"members": {"kind": "steps", "values": [[0], [6]], "at": [0.5]}}
    assert (
        refused(a_job(num_teachers=2, ensemble=beyond), wise(), wise()).details["field"] == "ensemble.members.values.1"
    )


@pytest.mark.parametrize("kind", ["hint", "attention", "similarity_preserving", "relational_distance", "contrastive"])
def test_a_module_that_a_member_lacks_is_refused_with_those_that_it_has(kind: str):
    pairs = [{"student": "anything", "teacher": "stages.0"}, {"student": "anything", "teacher": "stage.0"}]
    error = refused(a_job(SOFT_TARGETS, {"kind": kind, "pairs": pairs}))
    assert error.details["field"] == "objective.1.pairs.1.teacher"
    assert error.details["hint"] == "did you mean 'stages.0'?"
    assert "it has: stages.0" in error.message


def test_classes_in_another_order_are_told_where_they_part():
    turned = wise(teacher="turned", classes=MANIFEST.classes[::-1])
    own = {"source": "npz", "train": "own.npz"}
    error = refused(a_job(num_teachers=2, dataset=own), wise(), turned)
    assert error.details["field"] == "teachers.1.name"
    assert "another order: class 0 is '9' to turned@1 and '0' to wise@1" in error.message


NO_LABELS = {"source": "digits", "labels": {"kind": "none"}}


@pytest.mark.parametrize("members", [{"kind": "in_order"}, {"kind": "random"}, {"kind": "best"}, MASKED])
def test_no_step_goes_by_at_which_nobody_who_speaks_is_meant(members: dict[str, Any]):
    ensemble = {"combine": "mean_probability", "members": members}
    error = refused(a_job(one_of(2), dataset=NO_LABELS, ensemble=ensemble))
    assert error.details["field"] == "ensemble.members"
    assert "nothing would be learned" in error.message
    check_teachers(a_job(one_of(2), {"kind": "labels"}, ensemble=ensemble), (wise(),), "")
    check_teachers(a_job(SOFT_TARGETS, dataset=NO_LABELS, ensemble=ensemble), (wise(),), "")


def test_a_head_that_no_term_teaches_is_refused():
    heads = {"combine": "per_member_heads"}
    error = refused(a_job(one_of(0), one_of(2), ensemble=heads))
    assert error.details["field"] == "ensemble.combine"
    assert error.details["got"] == "member 1"
    silent = SOFT_TARGETS | {"weight": 0}
    assert refused(a_job(one_of(0), one_of(1), silent, ensemble=heads)).details["got"] == "member 2"
    check_teachers(a_job(one_of(0), one_of(1), one_of(2), ensemble=heads), (wise(),), "")
