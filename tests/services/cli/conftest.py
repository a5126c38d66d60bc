"""The program, run in the test's own process."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.cli.main import app
from tests.services.client.stub_house import House

Run = Callable[..., Result]


@pytest.fixture
def stillhouse(house: House) -> Run:
    return lambda *words: CliRunner().invoke(app, ["--server", house.url, *map(str, words)])


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    file = tmp_path / "job.yaml"
    file.write_text("name: digits\ndataset: {source: digits}\nstudent: {source: zoo, name: mlp}\n")
    return file
