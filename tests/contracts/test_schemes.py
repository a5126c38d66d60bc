"""Who may be listened to follows from the scheme, and what the scheme pays for is listened to."""

from typing import Any

import pytest
from pydantic import ValidationError

from distill.contracts.job import JobSpec

CNN = {"source": "zoo", "name": "cnn"}
ONLINE = {"kind": "online", "peers": [CNN]}
FUSED = ONLINE | {"fusion": {"taps": ["stages.1", "stages.1"]}}


def job(*targets: str, **changes: Any) -> JobSpec:
    terms = [{"kind": "soft_targets", "target": {"from": target}} for target in targets]
    content = {"name": "a", "dataset": {"source": "digits"}, "student": CNN, "objective": [{"kind": "labels"}, *terms]}
    return JobSpec.model_validate(content | changes)


@pytest.mark.parametrize(
    ("target", "scheme", "said"),
    [
        ("served", {"kind": "offline"}, "needs a teacher, and 'teachers' is empty"),
        ("peers", {"kind": "offline"}, "only the scheme 'online' supplies that"),
        ("peers", {"kind": "self"}, "only the scheme 'online' supplies that"),
        ("fused", ONLINE, "only the scheme 'online' with 'fusion'"),
        ("self", ONLINE, "only the scheme 'self'"),
        ("average", {"kind": "self"}, "only the scheme 'self' with 'average'"),
        ("view", {"kind": "self"}, "only the scheme 'self' with 'view'"),
    ],
)
def test_a_target_that_nobody_supplies_is_refused(target: str, scheme: dict[str, Any], said: str):
    with pytest.raises(ValidationError, match=said):
        job(target, scheme=scheme)


@pytest.mark.parametrize(
    ("targets", "scheme", "source"),
    [
        ((), ONLINE, "peers"),
        (("peers",), FUSED, "fused"),
        ((), {"kind": "self"}, "self"),
        (("self",), {"kind": "self", "average": {}}, "average"),
        (("average",), {"kind": "self", "average": {}, "view": {}}, "view"),
    ],
)
def test_what_would_be_trained_or_run_for_nobody_is_refused(targets: Any, scheme: dict[str, Any], source: str):
    with pytest.raises(ValidationError, match=f"supplies the target '{source}', and no term"):
        job(*targets, scheme=scheme)


@pytest.mark.parametrize(
    ("targets", "scheme"),
    [
        ((), {"kind": "offline"}),
        (("peers",), ONLINE),
        (("fused",), FUSED),
        (("peers", "fused"), FUSED),
        (("self",), {"kind": "self"}),
        (("average", "self"), {"kind": "self", "average": {}}),
        (("view",), {"kind": "self", "view": {}}),
    ],
)
def test_what_is_supplied_may_be_listened_to(targets: Any, scheme: dict[str, Any]):
    assert job(*targets, scheme=scheme).learns_from_labels_alone is (not targets)
