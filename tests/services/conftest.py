"""A server in the tests' own process, for the client and the program that use one."""

from collections.abc import Iterator

import pytest

from tests.services.client.stub_house import House, serving


@pytest.fixture(scope="session")
def served_house() -> Iterator[House]:
    with serving(House()) as house:
        yield house


@pytest.fixture
def house(served_house: House) -> House:
    served_house.forget()
    return served_house
