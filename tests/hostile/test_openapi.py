"""Whatever the OpenAPI document allows, and much that it doesn't, is answered as the document says, and never with a 5xx.

schemathesis makes the requests: some that the document takes for right, some that it takes for wrong. A summary of how many
there were, and of what came back, is printed at the end (``pytest -rP tests/hostile/test_openapi.py``).
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from redis import Redis
from schemathesis.checks import CHECKS
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode

from distill.contracts.settings import NodeSettings
from services.control_plane.main import create_app
from services.control_plane.settings import Settings
from tests.fundamentals.waiting import until
from tests.hostile.house import AUTHORIZED, leave_everything, served

NOWHERE = Path("/nonexistent")
DOCUMENT = create_app(
    Settings(
        node=NodeSettings(redis_url="redis://nowhere", storage=NOWHERE, data_root=NOWHERE, cache=NOWHERE),
        ray_dashboard="http://nowhere",
    )
).openapi()
for path in DOCUMENT["paths"].values():
    for described in path.values():
        # each request has a key: one whose only fault is that it was made without would be right, and none at all
        described.pop("security", None)
OPERATIONS = [found.ok() for found in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()]
NOT_PROMISED = {
    "not_a_server_error",
    "positive_data_acceptance",
    "use_after_free",
    "ensure_resource_availability",
    "ignored_auth",
}
"""What the document allows may still name a teacher that isn't there, or a job that is not yours; the rest is about
keys. A 503 is promised where Ray is away; of others the last test tells."""
CHECKED = [CHECKS.get_one(name) for name in CHECKS.get_all_names() if name not in NOT_PROMISED]
THERE = {"job": "left", "study": "compared", "teacher": "wise", "file": "report.md", "version": 1}
"""Path parameters that mean something: every second request names these."""

said: Counter[str] = Counter()
"""Status -> how often it came, over all requests of this run."""


def headers() -> dict[str, str]:
    """What every request says of who makes it."""
    return dict(AUTHORIZED)


@pytest.fixture(scope="module")
def url(own_redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A control plane with a finished job, a study, a teacher and its report."""
    root = tmp_path_factory.mktemp("openapi")
    (root / "data").mkdir()
    with Redis.from_url(own_redis_url) as redis:
        redis.flushall()
    node = NodeSettings(redis_url=own_redis_url, storage=root, data_root=root / "data", cache=root / "cache")
    with served(Settings(node=node, ray_dashboard="http://127.0.0.1:9", port=0)) as address:
        leave_everything(node)
        # what writes it imports numpy, and hypothesis stumbles over one that is half imported by another thread
        until(lambda: httpx.get(f"{address}/v1/studies/compared/report", headers=headers()).is_success)
        yield address
    print(f"\n{sum(said.values())} requests to {len(OPERATIONS)} operations: {dict(sorted(said.items()))}")


def ask(operation: Any, url: str, mode: GenerationMode, *, num_cases: int) -> None:
    """Make so many requests, and check every answer; none where no request is wrong."""

    faults: list[str] = []

    @seed(0)
    @settings(
        max_examples=num_cases,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def asked(case: Any) -> None:
        # what is there is named by every second request, but by none that would take it away from the others
        is_told = sum(said.values()) % 2 and mode is GenerationMode.POSITIVE and operation.method.upper() != "DELETE"
        for name in case.path_parameters if is_told else ():
            case.path_parameters[name] = THERE.get(name, case.path_parameters[name])
        response = case.call(base_url=url, headers=headers())
        said[str(response.status_code)] += 1
        try:
            case.validate_response(response, checks=CHECKED)
        except FailureGroup as group:
            faults.extend(
                f"{type(fault).__name__}: {fault}\n{case.as_curl_command()}"[:3000] for fault in group.exceptions
            )

    try:
        asked()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "the document allows nothing at all"
    assert not faults, "\n\n".join(faults[:3])


def modes(operation: Any) -> list[GenerationMode]:
    """Right and wrong; right alone where every request is: any text may stand in a path."""
    described = operation.definition.raw
    texts_alone = all(one["in"] == "path" and "anyOf" not in one["schema"] and one["schema"] == {
        "type": "string", "title": one["schema"].get("title")} for one in described.get("parameters", []))  # fmt: skip
    return [GenerationMode.POSITIVE] if texts_alone and "requestBody" not in described else list(GenerationMode)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_what_the_document_allows_and_what_not_is_answered_as_it_says(operation: Any, url: str):
    for mode in modes(operation):
        ask(operation, url, mode, num_cases=4)


@pytest.mark.long
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_many_more_are_answered_as_it_says(operation: Any, url: str):
    for mode in modes(operation):
        ask(operation, url, mode, num_cases=60)


def test_every_status_that_came_is_no_fault_of_ours():
    assert said
    assert not [status for status in said if status >= "500" and status != "503"]
