"""The routes of the door, without a cluster."""

import asyncio
import json

import numpy as np
import pytest
from redis.exceptions import ConnectionError as RedisGone
from safetensors.numpy import save

from distill.contracts.base import now
from distill.contracts.errors import NotFinite, TeacherBusy, TeacherUnavailable
from distill.contracts.keys import new_key, new_key_id
from teacher_server.door.body import MEDIA_TYPE, pack, unpack
from teacher_server.door.reading import MAX_BODY_BYTES
from tests.teacher_server.door.doors import DIGEST, KEY, DoorWithoutCluster, a_body, a_key, a_reservation, images, said

SHOWN = [(b"authorization", f"Bearer {KEY}".encode())]
ASK = "/reservations/r-1/answer"


@pytest.fixture
def door():
    return DoorWithoutCluster(a_reservation())


async def sent(door, content=b"", path=ASK, method="POST", **more):
    async with door.client() as client:
        return await client.request(method, path, content=content, **more)


def problem(response):
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == response.status_code
    assert document["type"] == f"urn:stillhouse:problem:{document['code']}"
    return document


async def test_a_window_is_answered_with_what_the_teacher_says(door):
    rows = images(5)
    response = await sent(door, a_body(rows, precision="fp32"))
    assert (response.status_code, response.headers["content-type"]) == (200, MEDIA_TYPE)
    header, tensors = unpack(response.content)
    assert (header["request_id"], header["digest"], header["num_rows"]) == ("q", DIGEST, 5)
    np.testing.assert_allclose(tensors["logits"], said(rows), rtol=1e-6)


async def test_team_and_job_are_the_reservations_whatever_the_caller_says(door):
    await sent(door, a_body(images(1), team="somebody-else", job="another"))
    assert (door.teacher.asked[0]["team"], door.teacher.asked[0]["job"]) == ("vision", "r-1")


async def test_whoever_comes_may_see_whom_a_reservation_is_for(door):
    door.teacher.ready = False
    seen = (await sent(door, path="/reservations/r-1", method="GET")).json()
    assert (seen["teacher"], seen["digest"], seen["members"], seen["ready"]) == ("fashion@3", DIGEST, 2, False)
    assert (seen["classes"], seen["input"]["height"]) == (["boot", "bag", "coat"], 2)
    door.teacher.ready = True
    assert (await sent(door, path="/reservations/r-1", method="GET")).json()["ready"] is True


async def test_an_open_door_says_so(door):
    assert (await sent(door, path="/healthz", method="GET")).json() == {"status": "ok"}


@pytest.mark.parametrize("path", ["/reservations/r-2/answer", "/reservations//answer", "/other", "/reservations/r-1/x"])
async def test_what_is_not_there_is_not_found(door, path):
    response = await sent(door, a_body(images(1)), path=path)
    assert (response.status_code, problem(response)["code"]) == (404, "not_found")


async def test_who_has_no_reservation_is_told_how_to_get_one(door):
    assert "POST /v1/reservations" in problem(await sent(door, path="/reservations/r-2/answer"))["hint"]


async def test_asking_is_a_post(door):
    response = await sent(door, method="GET")
    assert (response.status_code, problem(response)["code"]) == (405, "method_not_allowed")


GOOD = a_body(images(2))
MALFORMED = {
    "empty": b"",
    "torn": GOOD[:-1],
    "torn header": GOOD[:20],
    "no safetensors": b"\0" * 64,
    "a header of 2^62 bytes": (2**62).to_bytes(8, "little") + b"{}",
    "more than it says": GOOD + b"x",
    "no header": save({"inputs": images(2)}, {"hidden": "{}"}),
    "no metadata": save({"inputs": images(2)}),
    "an empty header": pack({}, {"inputs": images(2)}),
    "a header that is a list": save({"inputs": images(2)}, {"header": "[1]"}),
    "unknown fields": a_body(images(2), urgent=True),
    "no rows": a_body(images(0)),
    "other rows than it says": pack({"request_id": "q", "num_rows": 3}, {"inputs": images(2)}),
    "wrong type": a_body(images(2).astype(np.float64)),
    "wrong shape": a_body(images(2)[:, :, :1]),
    "no inputs": pack({"request_id": "q", "num_rows": 2}, {}),
    "more tensors": pack({"request_id": "q", "num_rows": 2}, {"inputs": images(2), "labels": np.zeros(2)}),
    "no deadline": a_body(images(2), deadline_s=-1),
    "a deadline that is no number": a_body(images(2), deadline_s=float("nan")),
}  # fmt: skip


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_body_is_refused_in_words_and_the_next_is_answered(door, content):
    response = await sent(door, content)
    assert (response.status_code, problem(response)["code"]) == (422, "invalid_spec")
    assert len(problem(response)["detail"]) > 20
    assert (await sent(door, GOOD)).status_code == 200


async def test_an_unknown_field_is_named(door):
    assert problem(await sent(door, a_body(images(2), urgent=True)))["field"] == "urgent"


async def test_a_body_that_says_it_is_too_large_is_refused_unread(door):
    async def never():
        raise AssertionError("it was read")
        yield b""

    response = await sent(door, never(), headers={"Content-Length": str(10**12)})
    assert (response.status_code, problem(response)["code"]) == (413, "too_large")


async def test_a_body_that_turns_out_too_large_is_refused_while_it_comes(door):
    taken = 0

    async def chunks():
        nonlocal taken
        for taken in range(100):  # noqa: B007
            yield b"x" * 2**20

    response = await sent(door, chunks())
    assert (response.status_code, problem(response)["code"]) == (413, "too_large")
    assert taken <= MAX_BODY_BYTES // 2**20 + 1


async def test_a_body_that_does_not_come_is_not_waited_for():
    door = DoorWithoutCluster(a_reservation(), read_s=0.05)

    async def begun():
        yield b"x"
        await asyncio.Event().wait()

    receiving = begun()

    async def receive():
        return {"type": "http.request", "body": await anext(receiving), "more_body": True}

    answered = []

    async def send(message):
        answered.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/v1/pool{ASK}",
        "headers": SHOWN,
    }
    await door(scope, receive, send)
    assert answered[0]["status"] == 422
    assert "did not come" in json.loads(answered[1]["body"])["detail"]


async def test_bodies_are_held_up_to_a_bound_and_let_go_with_their_answers():
    window = a_body(images(100))
    door = DoorWithoutCluster(a_reservation(), max_bytes=len(window) * 5 // 2)
    door.teacher.is_stuck = True
    waiting = [asyncio.create_task(sent(door, window)) for _ in range(3)]
    (refused,), _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert problem(refused.result())["code"] == "teacher_busy"
    door.teacher.let_go()
    assert sorted([one.status_code for one in await asyncio.gather(*waiting)]) == [200, 200, 503]
    assert [(await sent(door, window)).status_code for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize(
    ("trouble", "status", "code"),
    [
        (TeacherBusy("its queue is full"), 503, "teacher_busy"),
        (TeacherUnavailable("no replica"), 503, "teacher_unavailable"),
        (NotFinite("row 3"), 422, "answer_not_finite"),
    ],
)
async def test_a_teachers_own_trouble_keeps_its_code(door, trouble, status, code):
    door.teacher.troubles.append(trouble)
    response = await sent(door, GOOD)
    assert (response.status_code, problem(response)["code"], problem(response)["detail"]) == (
        status,
        code,
        str(trouble),
    )
    assert ("retry-after" in response.headers) == (status == 503)


async def test_what_nobody_foresaw_is_told_to_the_log_alone(door, caplog):
    door.teacher.troubles.append(RuntimeError("password 123"))
    response = await sent(door, GOOD)
    assert (response.status_code, problem(response)["code"]) == (500, "internal_error")
    assert "123" not in response.text
    assert "password 123" in caplog.text
    assert (await sent(door, GOOD)).status_code == 200


async def test_a_client_that_hangs_up_takes_its_request_back(door):
    door.teacher.is_stuck = True
    hanging = asyncio.create_task(sent(door, GOOD))
    assert await asyncio.to_thread(door.teacher.heard.acquire, timeout=10)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert door.teacher.cancelled == 1


async def test_a_client_that_hangs_up_while_it_sends_is_no_error(door, caplog):
    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    await door(
        {
            "type": "http",
            "method": "POST",
            "path": f"/v1/pool{ASK}",
            "headers": SHOWN,
        },
        receive,
        send,
    )
    assert not caplog.records


REFUSED = {
    "no key": (None, "no API key"),
    "no key of ours": ("hello", "checksum"),
    "a mistyped key": (KEY[:-1] + ("0" if KEY[-1] != "0" else "1"), "checksum"),
    "a key that nobody knows": (new_key(new_key_id()), "not known"),
}


@pytest.mark.parametrize(("key", "says"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize(("method", "path"), [("POST", ASK), ("GET", "/reservations/r-1"), ("GET", "/other")])
async def test_without_a_key_that_holds_nothing_is_said(door, method, path, key, says):
    async with door.client(key) as client:
        response = await client.request(method, path, content=GOOD if method == "POST" else b"")
    assert (response.status_code, problem(response)["code"]) == (401, "not_authenticated")
    assert says in problem(response)["detail"]
    assert response.headers["www-authenticate"].startswith('Bearer realm="stillhouse"')
    assert not door.teacher.asked


async def test_a_typo_costs_redis_nothing(door):
    async with door.client(REFUSED["a mistyped key"][0]) as client:
        await client.get("/reservations/r-1")
    assert door.shelf.reads == 0


@pytest.mark.parametrize(("changes", "says"), [({"revoked_at": now()}, "revoked"), ({"expires_at": now()}, "expired")])
async def test_a_key_that_has_ended_is_told_so(door, changes, says):
    door.shelf.put_key(a_key(**changes))
    response = await sent(door, GOOD)
    assert response.status_code == 401
    assert says in problem(response)["detail"]


async def test_a_key_that_is_revoked_is_refused_within_a_second(door):
    assert (await sent(door, GOOD)).status_code == 200
    door.shelf.put_key(a_key(revoked_at=now()))
    door.clock.passed_s = 1.0
    assert (await sent(door, GOOD)).status_code == 401


async def test_while_redis_is_silent_a_key_is_trusted_no_longer_than_a_second(door):
    assert (await sent(door, GOOD)).status_code == 200
    door.shelf.trouble = RedisGone("gone")
    door.clock.passed_s = 0.9
    assert (await sent(door, GOOD)).status_code == 200
    door.clock.passed_s = 1.0
    response = await sent(door, GOOD)
    assert (response.status_code, problem(response)["code"]) == (503, "dependency_down")


async def test_a_key_that_may_only_read_asks_no_teacher(door):
    door.shelf.put_key(a_key(scopes=("read",)))
    response = await sent(door, GOOD)
    assert (response.status_code, problem(response)["expected"]) == (403, "submit")
    assert not door.teacher.asked


@pytest.mark.parametrize("path", [ASK, "/reservations/r-1"])
async def test_another_teams_reservation_is_one_that_is_not_there(door, path):
    door.shelf.put_key(a_key(team="others"))
    method = "POST" if path == ASK else "GET"
    theirs = await sent(door, GOOD, path, method)
    nobodys = await sent(door, GOOD, path.replace("r-1", "r-2"), method)
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.text.replace("r-1", "r-2") == nobodys.text
    assert not door.teacher.asked
