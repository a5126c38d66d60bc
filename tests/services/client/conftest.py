"""A client of the server in the tests' own process."""

from collections.abc import Iterator

import pytest

from services.client import StillhouseClient
from tests.services.client.stub_house import House


@pytest.fixture
def asking(house: House) -> Iterator[StillhouseClient]:
    with StillhouseClient(house.url, patience_s=0) as client:
        yield client
