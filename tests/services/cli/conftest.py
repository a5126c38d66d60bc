"""The program, run in the test's own process against a server in it too."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.cli.main import app
from tests.services.client.stub_house import House, serving

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def served_house() -> Iterator[House]:
    with serving(House()) as house:
        yield house


@pytest.fixture
def house(served_house: House) -> House:
    served_house.forget()
    return served_house


@pytest.fixture
def stillhouse(house: House) -> Run:
    return lambda *words: CliRunner().invoke(app, ["--server", house.url, *map(str, words)])


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    file = tmp_path / "job.yaml"
    file.write_text("name: digits\ndataset: {source: digits}\nstudent: {source: zoo, name: mlp}\n")
    return file
