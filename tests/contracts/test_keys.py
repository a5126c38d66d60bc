"""What an API key looks like, when it holds, and where a client finds its own."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from distill.contracts.credentials import find_key
from distill.contracts.errors import InvalidSpec, NotAuthenticated
from distill.contracts.keys import (
    SECRET_BYTES,
    KeyRecord,
    KeySpec,
    SecretHash,
    digest_of_key,
    hash_of_key,
    id_of_key,
    key_of_header,
    new_key,
    new_key_id,
)

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEY = new_key("abcdefghjk")


def a_record(*keys: str, **changes: object) -> KeyRecord:
    """Of these keys, the newest first."""
    hashes = tuple(SecretHash(digest=digest_of_key(key)) for key in keys or (KEY,))
    fields = {"id": "abcdefghjk", "team": "vision", "name": "loops", "scopes": ("read",), "created_at": NOON}
    return KeyRecord(secrets=hashes, **(fields | changes))


def test_a_key_shows_what_it_is_and_whose_and_hides_160_bits():
    prefix, identity, rest = KEY.split("_")
    assert (prefix, identity, id_of_key(KEY)) == ("sth", "abcdefghjk", "abcdefghjk")
    assert len(rest) * 4 == SECRET_BYTES * 8 + 32 == 160 + 32


def test_no_two_keys_are_alike():
    assert len({new_key("abcdefghjk") for _ in range(1000)}) == len({new_key_id() for _ in range(1000)}) == 1000


def test_every_single_typo_is_noticed():
    letters = "abcdefghjkmnpqrstuvwxyz0123456789_"
    typos = {KEY[:i] + letter + KEY[i + 1 :] for i in range(len(KEY)) for letter in letters} - {KEY}
    typos |= {KEY[:i] + KEY[i + 1] + KEY[i] + KEY[i + 2 :] for i in range(len(KEY) - 1)} - {KEY}
    typos |= {KEY[:i] + KEY[i + 1 :] for i in range(len(KEY))}
    assert len(typos) > 2000
    for typo in typos:
        with pytest.raises(NotAuthenticated) as caught:
            id_of_key(typo)
        assert typo not in str(caught.value.problem())


@given(some.text(max_size=200))
def test_whatever_else_comes_is_no_key(text: str):
    with pytest.raises(NotAuthenticated):
        id_of_key(text)


def test_only_a_hash_is_kept():
    stored = a_record().model_dump_json()
    assert KEY not in stored
    assert KEY.split("_")[2][:8] not in stored
    assert "sha256:" in stored
    assert "sha256" not in a_record().view().model_dump_json()


def test_a_key_holds_until_it_expires_to_the_moment():
    record = a_record(expires_at=NOON)
    record.check(KEY, NOON - timedelta(microseconds=1))
    with pytest.raises(NotAuthenticated, match="expired"):
        record.check(KEY, NOON)


def test_that_a_key_was_revoked_is_told_to_its_holder_alone():
    record = a_record(revoked_at=NOON)
    with pytest.raises(NotAuthenticated, match="revoked"):
        record.check(KEY, NOON)
    with pytest.raises(NotAuthenticated, match="not known"):
        record.check(new_key("abcdefghjk"), NOON)


def test_an_admin_key_may_all_and_every_other_what_it_names():
    assert [a_record(scopes=("admin",)).may(one) for one in ("read", "submit", "publish", "admin")] == [True] * 4
    assert [a_record(scopes=("read",)).may(one) for one in ("read", "submit", "publish", "admin")] == [
        True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", f"Basic {KEY}", KEY], ids=range(6))
def test_a_header_without_a_key_is_told_what_was_expected(header: str | None):
    with pytest.raises(NotAuthenticated) as caught:
        key_of_header(header)
    assert caught.value.details["field"] == "Authorization"
    assert KEY not in str(caught.value.problem())


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer  {KEY} ", f" BEARER {KEY}"], ids=range(3))
def test_a_header_with_a_key_is_read(header: str):
    assert key_of_header(header) == KEY


@pytest.mark.parametrize("fields", [{"scopes": []}, {"scopes": ["all"]}, {"team": "../x"}, {"name": ""}, {"key": KEY}])
def test_a_wish_for_a_key_is_closed_and_bounded(fields: dict[str, object]):
    with pytest.raises(ValueError, match="validation error"):
        KeySpec.model_validate({"name": "loops"} | fields)


URL = "http://127.0.0.1:8470"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The state folder of a stack that runs."""
    (tmp_path / "stack.json").write_text(json.dumps({"url": URL}))
    (tmp_path / "admin-key").write_text(KEY)
    return tmp_path


def test_the_named_file_goes_before_the_variable_before_its_file_before_the_state_folder(home: Path):
    named, other = home / "named", home / "other"
    keys = [new_key(new_key_id()) for _ in range(3)]
    named.write_text(keys[0] + "\n")
    other.write_text(keys[2])
    environment = {"STILLHOUSE_HOME": str(home)}
    assert find_key(URL, environment) == KEY
    environment |= {"STILLHOUSE_KEY_FILE": str(other)}
    assert find_key(URL, environment) == keys[2]
    environment |= {"STILLHOUSE_KEY": keys[1]}
    assert find_key(URL, environment) == keys[1]
    assert find_key(URL, environment, file=named) == keys[0]


@pytest.mark.parametrize("url", [URL, f"{URL}/", "http://localhost:8470", "http://[::1]:8470"])
def test_the_stacks_own_key_is_shown_to_the_stack_by_any_name_of_this_machine(home: Path, url: str):
    assert find_key(url, {"STILLHOUSE_HOME": str(home)}) == KEY


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8471", "http://stillhouse.example.org:8470", "https://127.0.0.1:8470", "http://[", "http://a:b"],
)
def test_the_stacks_own_key_is_shown_to_nobody_else(home: Path, url: str):
    assert find_key(url, {"STILLHOUSE_HOME": str(home)}) is None


@pytest.mark.parametrize("stack", [None, "{", "[]", '{"url": null}', '{"url": 7}'])
def test_the_key_of_a_stack_that_does_not_run_is_shown_to_nobody(home: Path, stack: str | None):
    (home / "stack.json").unlink()
    if stack is not None:
        (home / "stack.json").write_text(stack)
    assert find_key(URL, {"STILLHOUSE_HOME": str(home)}) is None


def test_what_is_no_key_is_told_without_being_repeated(home: Path):
    with pytest.raises(InvalidSpec, match="STILLHOUSE_KEY") as caught:
        find_key(URL, {"STILLHOUSE_HOME": str(home), "STILLHOUSE_KEY": KEY[:-1]})
    assert KEY[:-1] not in str(caught.value.problem())
    with pytest.raises(InvalidSpec, match="can't be read"):
        find_key(URL, {}, file=home / "nowhere")


def test_what_a_control_plane_is_told_says_nothing_of_the_secret():
    told = str(hash_of_key(KEY))
    assert told == f"abcdefghjk:{digest_of_key(KEY)}"
    assert KEY.split("_")[2] not in told
