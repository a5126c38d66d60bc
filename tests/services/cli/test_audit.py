"""The command for the audit log."""

import json
from typing import Any

from distill.contracts.audit import ChangeAnswered, ChangeAsked, ServiceDid
from tests.services.cli.conftest import Run
from tests.services.client.stub_house import KEY_ID, NOON, House

ABOUT: dict[str, Any] = {"at": NOON, "team": "vision", "key": KEY_ID, "request": "5f"}


def a_log(house: House) -> None:
    """The operator's key, a job, a crash in the middle of a cancellation, and a flood."""
    job = ABOUT | {"method": "POST", "path": "/v1/jobs"}
    house.audit = [
        ServiceDid(at=NOON, what="operator_key", details={"key": "k", "team": "default"}),
        ChangeAsked(route="/v1/jobs", **job),
        ChangeAnswered(asked=2, status=202, made="/v1/jobs/digits-abc123", **job),
        ChangeAsked(route="/v1/jobs/{job}/cancel", method="POST", path="/v1/jobs/digits-abc123/cancel", **ABOUT),
        ChangeAnswered(status=429, left_out=70, **job),
    ]


def test_each_change_is_a_row_with_its_answer(house: House, stillhouse: Run):
    a_log(house)
    done = stillhouse("audit", "--since", "2h", "--path", "/v1/jobs")
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["NUMBER", "WHEN", "TEAM", "KEY", "WHAT", "ANSWER"]
    told = [[word for number, word in enumerate(row.split()) if number not in (1, 2)] for row in rows]
    assert told == [
        ["5", "vision", KEY_ID, "POST", "/v1/jobs", "429;", "70", "more", "before", "it"],
        ["4", "vision", KEY_ID, "POST", "/v1/jobs/digits-abc123/cancel", "none"],
        ["2", "vision", KEY_ID, "POST", "/v1/jobs", "202", "/v1/jobs/digits-abc123"],
        ["1", "-", "-", "operator_key:", "key", "k,", "team", "default", "-"],
    ]
    first = house.asked[0][1]
    assert first.startswith("/v1/audit?path=%2Fv1%2Fjobs&limit=200&since=20")


def test_for_programs_every_entry_has_its_hash(house: House, stillhouse: Run):
    a_log(house)
    found = json.loads(stillhouse("audit", "--json", "--limit", "4").stdout)
    assert [one["number"] for one in found] == [5, 4, 3, 2]
    assert all(one["hash"].startswith("sha256:") for one in found)


def test_a_whole_log_gives_its_head_to_be_noted(house: House, stillhouse: Run):
    done = stillhouse("audit", "--verify")
    assert (done.exit_code, done.stdout) == (0, f"{house.verdict.head}\n")
    assert done.stderr == "2 entries are what was written; 0 requests have no answer\n"
    done = stillhouse("audit", "--noted", house.verdict.head)
    assert done.stderr == "2 entries are what was written, the noted head among them; 0 requests have no answer\n"
    assert house.asked[-1][1] == "/v1/audit/verify?noted=2%3Asha256%3A" + "5" * 64


def test_a_broken_log_ends_the_command_with_an_error(house: House, stillhouse: Run):
    more = {"whole": False, "broken_at": 3, "what": "entry 3 is missing: 4 is the next one that is there"}
    house.verdict = house.verdict.model_copy(update=more)
    done = stillhouse("audit", "--verify")
    assert (done.exit_code, "broken at entry 3: entry 3 is missing" in done.stderr) == (6, True)
    done = stillhouse("audit", "--verify", "--json")
    assert (done.exit_code, json.loads(done.stdout)["broken_at"]) == (6, 3)
