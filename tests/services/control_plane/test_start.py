"""How the control plane starts, and when it refuses to."""

import os
import subprocess
import sys

import pytest

from distill.contracts.errors import InvalidSpec
from distill.contracts.keys import hash_of_key, new_key, new_key_id
from services.control_plane.settings import Settings, refuse_unguarded


def test_the_control_plane_imports_neither_torch_nor_ray():
    check = "import services.control_plane.main, sys; assert not {'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


ENVIRONMENT = {
    "STILLHOUSE_STORAGE": "/nowhere", "STILLHOUSE_REDIS_URL": "redis://127.0.0.1:1",
    "STILLHOUSE_RAY_DASHBOARD": "http://127.0.0.1:2",
}  # fmt: skip


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "stillhouse.example.org"])
def test_with_keys_in_force_it_listens_wherever_it_is_told_to(host: str):
    assert Settings.from_environment(ENVIRONMENT | {"STILLHOUSE_HOST": host}).host == host


@pytest.mark.parametrize("dashboard", ["http://127.0.0.1:8265", "http://localhost:8265", "http://[::1]:8265"])
def test_a_dashboard_on_loopback_needs_no_token(dashboard: str):
    refuse_unguarded(dashboard, has_token=False)


@pytest.mark.parametrize(
    "dashboard", ["http://10.1.2.3:8265", "http://ray-head:8265", "http://0.0.0.0:8265", "ray", ""]
)
def test_a_dashboard_that_others_can_reach_is_refused_without_a_token(dashboard: str):
    refuse_unguarded(dashboard, has_token=True)
    with pytest.raises(InvalidSpec, match="RAY_AUTH_MODE=token"):
        refuse_unguarded(dashboard, has_token=False)


def test_the_first_key_is_known_by_its_hash_alone():
    key = new_key(new_key_id())
    settings = Settings.from_environment(ENVIRONMENT | {"STILLHOUSE_ADMIN_KEY_HASH": str(hash_of_key(key))})
    assert settings.admin_key == hash_of_key(key)
    assert key not in repr(settings)


@pytest.mark.parametrize("text", ["sth_secret", "abcdefghjk:sha256:12", "sha256:" + "0" * 64])
def test_what_is_no_hash_of_a_key_is_refused(text: str):
    with pytest.raises(InvalidSpec, match="STILLHOUSE_ADMIN_KEY_HASH"):
        Settings.from_environment(ENVIRONMENT | {"STILLHOUSE_ADMIN_KEY_HASH": text})


NUMBERS = [
    ("STILLHOUSE_PORT", "abc"), ("STILLHOUSE_PORT", "65536"), ("STILLHOUSE_PORT", "80.5"), ("STILLHOUSE_DOOR_PORT", "0"),
    ("STILLHOUSE_MAX_STREAMS", "0"), ("STILLHOUSE_MAX_TEAM_STREAMS", "-1"), ("STILLHOUSE_REQUESTS_PER_S", "0"),
    ("STILLHOUSE_REQUESTS_AT_ONCE", "many"), ("STILLHOUSE_TEACHER_IDLE_S", "nan"), ("STILLHOUSE_TEACHER_IDLE_S", "inf"),
    ("STILLHOUSE_DATASET_BYTES", "16 GiB"), ("STILLHOUSE_ANSWERS_DISK_BYTES", "1"), ("STILLHOUSE_KEEP_LOGS_DAYS", "-1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text"), NUMBERS)
def test_a_number_that_is_none_is_refused_by_the_name_of_its_variable(name: str, text: str):
    with pytest.raises(InvalidSpec, match=f"{name} is '{text}'") as caught:
        Settings.from_environment(ENVIRONMENT | {name: text})
    assert (caught.value.details["field"], caught.value.details["got"]) == (name, text)


@pytest.mark.parametrize("name", sorted({name for name, _ in NUMBERS}))
def test_a_number_that_is_empty_is_as_one_that_is_not_set(name: str):
    assert Settings.from_environment(ENVIRONMENT | {name: ""}) == Settings.from_environment(ENVIRONMENT)


def test_started_wrongly_it_says_what_is_missing_and_ends_with_two():
    command = [sys.executable, "-m", "services.control_plane"]
    bare = {"PATH": os.environ["PATH"]}
    ended = subprocess.run(command, env=bare, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "STILLHOUSE_" in ended.stderr
    open_to_all = bare | ENVIRONMENT | {"STILLHOUSE_RAY_DASHBOARD": "http://ray-head:8265"}
    ended = subprocess.run(command, env=open_to_all, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "ray-head" in ended.stderr
    wrong = bare | ENVIRONMENT | {"STILLHOUSE_MAX_STREAMS": "0"}
    ended = subprocess.run(command, env=wrong, capture_output=True, text=True, check=False)
    said = "STILLHOUSE_MAX_STREAMS is '0', and has to be a whole number, at least 1\n"
    assert (ended.returncode, ended.stderr) == (2, said)
