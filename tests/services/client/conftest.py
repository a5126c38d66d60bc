"""A server in the tests' own process, and a client of it."""

from collections.abc import Iterator

import pytest

from services.client import StillhouseClient
from tests.services.client.stub_house import House, serving


@pytest.fixture(scope="session")
def served_house() -> Iterator[House]:
    with serving(House()) as house:
        yield house


@pytest.fixture
def house(served_house: House) -> House:
    served_house.forget()
    return served_house


@pytest.fixture
def asking(house: House) -> Iterator[StillhouseClient]:
    with StillhouseClient(house.url) as client:
        yield client
