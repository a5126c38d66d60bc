"""A server that stops."""

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from services.control_plane.serving import Farewell

HTTP: dict[str, Any] = {"type": "http", "method": "POST", "path": "/v1/jobs", "headers": []}


async def cut_off(*begun: Message) -> list[Message]:
    """What is sent of an answer that had begun with these, when its request is cut off."""
    sent: list[Message] = []
    waits = asyncio.Event()

    async def never_done(_: Scope, __: Receive, send: Send) -> None:
        for message in begun:
            await send(message)
        waits.set()
        await asyncio.Event().wait()

    async def keep(message: Message) -> None:
        sent.append(message)

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    request = asyncio.create_task(Farewell(never_done)(HTTP, nothing, keep))
    await waits.wait()
    request.cancel()
    if begun:
        with pytest.raises(asyncio.CancelledError):
            await request
    else:
        await request
    return sent


async def test_a_request_that_is_cut_off_is_told_that_it_may_be_sent_again():
    start, body = await cut_off()
    assert start["status"] == 503
    assert (b"retry-after", b"5") in start["headers"]
    assert json.loads(body["body"])["code"] == "dependency_down"


async def test_an_answer_that_has_begun_is_cut_off_as_it_is():
    begun = {"type": "http.response.start", "status": 200, "headers": []}
    assert await cut_off(begun) == [begun]
