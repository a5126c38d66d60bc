"""`stillhouse keys`, and the key that every command shows."""

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distill.contracts.base import now
from distill.contracts.errors import Forbidden, NotAuthenticated
from distill.contracts.keys import hash_of_key, id_of_key, new_key, new_key_id
from services.cli.main import app
from services.stack.home import StackHome, StackState
from tests.services.cli.conftest import Run
from tests.services.client.stub_house import KEY_ID, House

KEY = new_key(new_key_id())


@pytest.fixture
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, house: House) -> StackHome:
    """That of a stack which is the house."""
    home = StackHome(tmp_path / "home")
    home.make()
    home.write(StackState(mark="m", url=house.url))
    monkeypatch.setenv("STILLHOUSE_HOME", str(home.folder))
    for name in ("STILLHOUSE_KEY", "STILLHOUSE_KEY_FILE", "STILLHOUSE_URL"):
        monkeypatch.delenv(name, raising=False)
    return home


def shown(house: House) -> str | None:
    """The header of the newest request."""
    return house.asked[-1][2].get("authorization")


def test_a_key_is_printed_alone_so_that_it_can_go_into_a_file(house: House, stillhouse: Run):
    done = stillhouse("keys", "create", "nightly", "--team", "vision", "--scope", "read", "--days", "2")
    assert (done.exit_code, id_of_key(done.stdout.strip())) == (0, KEY_ID)
    made = house.keys[KEY_ID]
    assert (made.team, made.name, made.scopes) == ("vision", "nightly", ("read",))
    assert abs(made.expires_at - now() - timedelta(days=2)) < timedelta(minutes=1)
    assert done.stdout.strip() not in done.stderr


def test_a_scope_that_is_none_is_refused_before_anybody_is_asked(house: House, stillhouse: Run):
    done = stillhouse("keys", "create", "nightly", "--scope", "all")
    assert (done.exit_code, house.keys) == (2, {})


def test_keys_are_listed_with_how_long_they_hold(house: House, stillhouse: Run):
    stillhouse("keys", "create", "nightly")
    assert stillhouse("keys", "list").stdout.splitlines()[1].split()[:3] == [KEY_ID, "default", "nightly"]
    assert stillhouse("keys", "revoke", KEY_ID).exit_code == 0
    assert "revoked" in stillhouse("keys", "list").stdout
    assert stillhouse("keys", "revoke", "gone").exit_code == 3


def test_rotating_prints_the_new_key_alone(house: House, stillhouse: Run):
    stillhouse("keys", "create", "nightly")
    done = stillhouse("keys", "rotate", KEY_ID, "--overlap-hours", "2")
    assert (id_of_key(done.stdout.strip()), house.rotations[0].overlap_s) == (KEY_ID, 7200)


def test_the_stacks_own_key_is_replaced_when_it_is_rotated(house: House, stillhouse: Run, state_folder: StackHome):
    state_folder.key.write_text(new_key(KEY_ID))
    stillhouse("keys", "create", "operator")
    done = stillhouse("keys", "rotate", KEY_ID)
    assert state_folder.admin_key() == done.stdout.strip()
    assert stat.S_IMODE(state_folder.key.stat().st_mode) == 0o600


def test_the_stacks_own_key_is_used_without_being_asked(house: House, state_folder: StackHome):
    key = state_folder.admin_key()
    assert CliRunner().invoke(app, ["jobs"]).exit_code == 0
    assert shown(house) == f"Bearer {key}"


@pytest.mark.usefixtures("state_folder")
def test_the_file_goes_before_the_environment(
    house: House, stillhouse: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    other = new_key(new_key_id())
    (tmp_path / "own.key").write_text(KEY + "\n")
    monkeypatch.setenv("STILLHOUSE_KEY", other)
    stillhouse("jobs")
    assert shown(house) == f"Bearer {other}"
    stillhouse("--key-file", tmp_path / "own.key", "jobs")
    assert shown(house) == f"Bearer {KEY}"


@pytest.mark.usefixtures("state_folder")
def test_a_key_file_without_a_key_is_told_and_nothing_is_sent(house: House, stillhouse: Run, tmp_path: Path):
    (tmp_path / "own.key").write_text("password")
    done = stillhouse("--key-file", tmp_path / "own.key", "jobs")
    assert (done.exit_code, house.asked) == (2, [])
    assert "password" not in done.output


def test_an_admin_asks_in_the_name_of_a_team(house: House, stillhouse: Run):
    stillhouse("--team", "vision", "jobs")
    assert house.asked[-1][1] == "/v1/jobs?team=vision"


@pytest.mark.parametrize("kind", [NotAuthenticated, Forbidden])
def test_who_is_not_let_in_gets_an_exit_code_of_its_own(
    house: House, stillhouse: Run, job_file: Path, kind: type[NotAuthenticated]
):
    house.refusals["/v1/jobs"] = kind("the API key was revoked")
    done = stillhouse("submit", job_file)
    assert (done.exit_code, "the API key was revoked" in done.stderr) == (7, True)


def test_the_first_key_is_made_without_a_server(stillhouse: Run, tmp_path: Path):
    file = tmp_path / "admin.key"
    done = stillhouse("keys", "first", file)
    assert done.stdout.strip() == str(hash_of_key(file.read_text()))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stillhouse("keys", "first", file).exit_code == 4


def test_a_version_is_deleted_and_an_alias_moved_from_where_it_is_thought_to_be(house: House, stillhouse: Run):
    stillhouse("teachers", "publish", "wise", "--job", "a-1")
    assert "DELETED" in stillhouse("teachers", "delete", "wise", 1).stderr
    stillhouse("teachers", "alias", "wise", "prod", 1, "--expected", 2)
    stillhouse("teachers", "alias", "wise", "prod", 1)
    assert [one.expected for one in house.moved] == [2, None]


def test_a_key_in_json_is_for_programs(stillhouse: Run):
    made = json.loads(stillhouse("keys", "create", "nightly", "--json").stdout)
    assert id_of_key(made["key"]) == made["record"]["id"]
