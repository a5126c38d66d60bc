"""A training loop of one's own, without a job: it reserves a teacher, asks it over HTTP, and its team reads what that cost."""

import httpx
import numpy as np
import pytest

from distill.contracts.pool import TeacherUsage
from services.client.client import StillhouseClient
from services.stack.stack import Stack
from teacher_server.remote import RemotePool
from tests.fundamentals.waiting import until

ROWS = 64


@pytest.fixture
def images() -> np.ndarray:
    """Rows that nobody ever asked about: (N, C, H, W), noise."""
    return np.random.default_rng().integers(0, 17, (ROWS, 1, 8, 8), dtype=np.uint8)


def had(client: StillhouseClient, teacher: str) -> TeacherUsage:
    """What team ``default`` has had of the teacher in this month."""
    found = [one for one in client.usage().teachers if one.teacher == teacher]
    return found[0] if found else TeacherUsage(teacher=teacher)


def test_a_loop_of_ones_own_is_answered_over_http_and_its_team_reads_what_it_had(
    stack: Stack, client: StillhouseClient, teacher: str, images: np.ndarray
):
    before = had(client, teacher)
    with RemotePool(teacher, rows_per_s=100, url=stack.url, key=stack.key) as pool:
        assert [one.id for one in client.reservations()] == [pool.reservation.id]
        first = pool.ask(images).result()
        again = pool.ask(images).result()
    assert client.reservations() == []
    np.testing.assert_array_equal(first.logits, again.logits)
    assert first.logits.shape == (ROWS, 1, 10)
    # its only member answered each row twice: first it computed all, then it knew all, but for the 32 of a sample at most
    until(lambda: answered(had(client, teacher)) >= answered(before) + 2 * ROWS)
    assert had(client, teacher).rows_recalled >= before.rows_recalled + ROWS - 32
    headers = {"Authorization": f"Bearer {stack.key}"}
    assert httpx.get(f"{stack.url}/readyz", headers=headers).json()["warnings"] == []


def answered(usage: TeacherUsage) -> int:
    """Rows, however they were come by."""
    return usage.rows_computed + usage.rows_recalled
