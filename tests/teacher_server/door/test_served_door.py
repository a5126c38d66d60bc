"""The door as Serve runs it: through its HTTP proxy, to a teacher that is served, in the name of a reservation in Redis."""

import asyncio
import socket
import uuid
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from ray import serve
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from distill.contracts import names
from distill.contracts.keys import id_of_key
from teacher_server.door.app import DoorArgs, build
from teacher_server.door.body import pack
from teacher_server.local import LocalPool
from teacher_server.remote import RemotePool
from tests.teacher_server.door.doors import KEY, a_key
from tests.teacher_server.house import House, keeping

SHOWN = {"Authorization": f"Bearer {KEY}"}
PREFIX = "/v1/test-pool"
"""Beside the stack's own door, which reads another Redis."""


@pytest.fixture(scope="module")
def door(connected_ray, stack):
    """Its base URL."""
    serve.run(build(DoorArgs()), name="test-door", route_prefix=PREFIX)
    yield f"http://127.0.0.1:{stack.state.ray.door_port}{PREFIX}"
    serve.delete("test-door")


@pytest.fixture
def house(door, redis):
    """Keeps reservations in the Redis that the door reads."""
    # no id that another test had: a door remembers for a second what it read
    with keeping(House(door=door)) as house:
        redis.set(names.key_key(id_of_key(KEY)), a_key().model_dump_json(), ex=600)
        house.prefix = uuid.uuid4().hex
        house.on_change = lambda one: redis.set(names.reservation_key(one.id), one.model_dump_json(), ex=60)
        yield house


def test_answers_over_http_are_the_ensembles_own(house, served_solo, settings, rows):
    house.teacher = served_solo
    own = LocalPool([served_solo], storage=settings.storage, precision="fp32", max_batch_rows=64)
    images = rows(300)
    with RemotePool("solo@1", rows_per_s=1000, url=house.url, key=KEY, precision="fp32") as pool:
        pool.wait_ready(60)
        answer = pool.ask(images).result()
    np.testing.assert_allclose(answer.logits, own.ask(images).result().logits_NMC.numpy(), atol=1e-6)
    assert answer.headers[0].teacher == "solo@1"


def test_it_asks_redis_as_a_user_of_its_own(house, redis):
    with httpx.Client(base_url=house.door, headers=SHOWN) as client:
        assert client.get("/reservations/none").status_code == 404
    assert "door" in {one["user"] for one in redis.client_list()}


def test_who_shows_no_key_is_answered_nothing(house, redis):
    with RemotePool("fashion@3", rows_per_s=1000, url=house.url, key=KEY) as pool:
        about = f"{house.door}/reservations/{pool.reservation.id}"
        assert httpx.get(about, timeout=30).status_code == 401
        assert httpx.get(about, headers=SHOWN, timeout=30).status_code == 200


def test_a_bad_request_is_told_in_words_and_the_next_is_answered(house, served_solo, rows):
    house.teacher = served_solo
    with RemotePool("solo@1", rows_per_s=1000, url=house.url, key=KEY) as pool:
        asking = f"{house.door}/reservations/{pool.reservation.id}/answer"
        images = rows(2).numpy()
        whole = pack({"request_id": "q", "num_rows": 2}, {"inputs": images})
        floats = pack({"request_id": "q", "num_rows": 2}, {"inputs": images.astype(np.float32)})
        for content in (whole[:-1], floats, b""):
            refused = httpx.post(asking, content=content, headers=SHOWN, timeout=30)
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid_spec")
            assert refused.headers["content-type"] == "application/problem+json"
        assert httpx.post(asking, content=whole, headers=SHOWN, timeout=30).status_code == 200
    assert httpx.post(f"{house.door}/reservations/nobody/answer", content=whole, headers=SHOWN).status_code == 404


def test_a_teacher_without_a_replica_is_unavailable_for_now(house):
    with RemotePool("fashion@3", rows_per_s=1000, url=house.url, key=KEY) as pool:
        about = f"{house.door}/reservations/{pool.reservation.id}"
        assert httpx.get(about, headers=SHOWN, timeout=30).json()["ready"] is False
        content = pack({"request_id": "q", "num_rows": 1}, {"inputs": np.zeros((1, 1, 2, 2), np.uint8)})
        refused = httpx.post(f"{about}/answer", content=content, headers=SHOWN, timeout=30)
    assert (refused.status_code, refused.json()["code"]) == (503, "teacher_unavailable")
    assert int(refused.headers["retry-after"]) >= 1


@pytest.fixture
def told(connected_ray, settings, redis):
    """What somebody tells Redis who serves as fashion@3 and never answers."""
    redis_url = settings.redis_url

    class Waiting:
        async def answer(self, header, tensors):
            telling = AsyncRedis.from_url(redis_url)
            try:  # from here on: it may be taken back before Redis' reply has been read
                await telling.rpush("told", "asked")
                await asyncio.Event().wait()
            finally:
                await telling.rpush("told", "taken back")

    application = names.application("fashion", 3)
    waiting = serve.deployment(Waiting, name=names.DEPLOYMENT, ray_actor_options={"num_cpus": 0})
    serve.run(waiting.bind(), name=application, route_prefix=None)
    # without a time-out of the socket's, which would be shorter than the wait
    with Redis.from_url(redis_url, decode_responses=True, socket_timeout=None) as listening:
        yield lambda: listening.blpop(["told"], timeout=60)[1]
    serve.delete(application)
    redis.delete("told")


def test_a_client_that_hangs_up_takes_its_window_back_from_the_replica(house, told):
    with RemotePool("fashion@3", rows_per_s=1000, url=house.url, key=KEY) as pool:
        pool.ask(np.zeros((1, 1, 2, 2), np.uint8))
        assert told() == "asked"
    assert told() == "taken back"


def test_a_body_of_a_terabyte_is_refused_before_it_is_sent(house):
    with RemotePool("fashion@3", rows_per_s=1000, url=house.url, key=KEY) as pool:
        parts = urlsplit(house.door)
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as line:
            path = f"{parts.path}/reservations/{pool.reservation.id}/answer"
            shown = f"Host: door\r\nAuthorization: Bearer {KEY}\r\n"
            line.sendall(f"POST {path} HTTP/1.1\r\n{shown}Content-Length: {10**12}\r\n\r\n".encode())
            assert line.recv(100).startswith(b"HTTP/1.1 413 ")
