"""The API's own description is complete, and its examples are true."""

from typing import Any

import httpx
import pytest

from distill.contracts.job import JobSpec
from distill.contracts.keys import KeySpec
from distill.contracts.pool import ReservationSpec
from distill.contracts.study import StudySpec
from distill.contracts.teachers import TeacherVersionSpec
from distill.contracts.teams import TeamSpec
from services.control_plane import examples


@pytest.mark.parametrize(
    ("shown", "model"),
    [
        (examples.JOBS, JobSpec),
        (examples.STUDIES, StudySpec),
        (examples.VERSIONS, TeacherVersionSpec),
        (examples.RESERVATIONS, ReservationSpec),
        (examples.TEAMS, TeamSpec),
        (examples.KEYS, KeySpec),
    ],
)
def test_every_example_is_valid(shown: dict[str, Any], model: Any):
    assert shown
    for example in shown.values():
        model.model_validate(example["value"])


async def test_every_route_says_what_it_does_and_how_it_fails(api: httpx.AsyncClient):
    paths = (await api.get("/openapi.json")).json()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation.get("description"), f"{method} {path}"
            failures = {status for status in operation["responses"] if status >= "4"}
            assert failures or path == "/healthz", f"{method} {path}"
            for status in failures - {"503"}:
                content = operation["responses"][status]["content"]
                assert "application/problem+json" in content, f"{method} {path} {status}: {content}"


async def test_every_route_but_those_of_health_says_that_it_needs_a_key(api: httpx.AsyncClient):
    document = (await api.get("/openapi.json")).json()
    (name,) = document["components"]["securitySchemes"]
    assert document["components"]["securitySchemes"][name]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            needs = {"security": [{name: []}]} if path.startswith("/v1/") else {}
            assert {key: operation[key] for key in ("security",) if key in operation} == needs, f"{method} {path}"
            assert ("401" in operation["responses"]) == ("403" in operation["responses"]) == bool(needs)


async def test_every_post_of_a_file_shows_an_example(api: httpx.AsyncClient):
    paths = (await api.get("/openapi.json")).json()["paths"]
    for path in ("/v1/jobs", "/v1/studies", "/v1/teachers/{teacher}/versions", "/v1/reservations", "/v1/keys"):
        assert paths[path]["post"]["requestBody"]["content"]["application/json"]["examples"]


async def test_what_is_not_there_is_a_problem_document_too(api: httpx.AsyncClient):
    for method, path, status in (("GET", "/v1/nothing", 404), ("DELETE", "/v1/jobs", 405)):
        answer = await api.request(method, path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
