"""`stillhouse up`, killed and started again: what lives is taken over, and in the end nothing is left."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from distill.contracts.records import JobState
from services.client.client import StillhouseClient
from services.stack.home import StackHome
from services.stack.processes import remains
from tests.fundamentals.jobs import ENDLESS, a_job, first


@contextmanager
def an_up(home: Path) -> Iterator[subprocess.Popen[str]]:
    """The program in the foreground of a process of its own, ready."""
    environment = {**os.environ, "STILLHOUSE_HOME": str(home)}
    environment.pop("REDIS_URL", None)
    command = [sys.executable, "-m", "services.cli.main", "up", "--port", "0", "--json"]
    with (home.parent / "up.log").open("a") as log:
        up = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert json.loads(up.stdout.readline())["home"] == str(home)
        yield up
    finally:
        if up.poll() is None:
            up.terminate()
        up.wait(60)
        up.stdout.close()


def a_client(home: StackHome) -> StillhouseClient:
    """One that shows the key of that home."""
    return StillhouseClient(home.read().url, key=home.admin_key())


@pytest.mark.long
def test_a_killed_up_is_taken_over_and_a_stopped_one_leaves_nothing(tmp_path: Path):
    home = StackHome(tmp_path / "home")
    with an_up(home.folder) as first:
        before = home.read()
        with Redis.from_url(before.redis.url) as client:
            client.set("fact", "applied")
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    with an_up(home.folder) as second:
        after = home.read()
        assert after.up.pid == second.pid
        assert (after.redis.process, after.ray.process) == (before.redis.process, before.ray.process)
        assert after.control_plane.process != before.control_plane.process
        with Redis.from_url(after.redis.url) as client:
            assert client.get("fact") == b"applied"
        second.send_signal(signal.SIGINT)
        second.send_signal(signal.SIGINT)
        assert second.wait(60) == 0
    assert home.read().up is None
    assert remains(after.mark, [after.ray.process]) == []
    assert not after.ray.folder.exists()


@pytest.mark.long
def test_a_job_goes_on_after_an_orderly_stop_which_is_no_failure_of_its(tmp_path: Path):
    home = StackHome(tmp_path / "home")
    with an_up(home.folder) as up, a_client(home) as client:
        job = client.submit_job(a_job(training=ENDLESS, limits={"max_failures": 0}))
        first(client, job, "checkpoint_saved")
        up.send_signal(signal.SIGTERM)
        assert up.wait(60) == 0
    with an_up(home.folder), a_client(home) as client:
        first(client, job, "epoch_ended", attempt=2)
        record = client.job(job.id)
        assert (record.state, record.attempt) == (JobState.RUNNING, 2)
        assert record.attempts[0].problem.code == "interrupted"
        assert [epoch["epoch"] for epoch in record.epochs] == list(range(1, len(record.epochs) + 1))
