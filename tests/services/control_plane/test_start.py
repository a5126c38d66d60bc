"""How the control plane starts, and when it refuses to."""

import os
import subprocess
import sys

import pytest

from distill.contracts.errors import InvalidSpec
from services.control_plane.settings import refuse_unless_loopback


def test_the_control_plane_imports_neither_torch_nor_ray():
    check = "import services.control_plane.main, sys; assert not {'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_it_listens_where_only_this_machine_reaches_it(host: str):
    assert refuse_unless_loopback(host) == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "stillhouse.example.org", ""])
def test_it_refuses_to_listen_elsewhere_and_says_why(host: str):
    with pytest.raises(InvalidSpec, match="no API keys yet"):
        refuse_unless_loopback(host)


def test_started_wrongly_it_says_what_is_missing_and_ends_with_two():
    command = [sys.executable, "-m", "services.control_plane"]
    bare = {"PATH": os.environ["PATH"]}
    ended = subprocess.run(command, env=bare, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "STILLHOUSE_" in ended.stderr
    everyone = bare | {
        "STILLHOUSE_STORAGE": "/nowhere", "STILLHOUSE_REDIS_URL": "redis://127.0.0.1:1",
        "STILLHOUSE_RAY_DASHBOARD": "http://127.0.0.1:2", "STILLHOUSE_HOST": "0.0.0.0",
    }  # fmt: skip
    ended = subprocess.run(command, env=everyone, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "0.0.0.0" in ended.stderr
