"""How streams are sent over real connections: freed at once, bounded, and let go where nobody reads."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from distill.contracts.errors import TooManyStreams
from services.control_plane.context import Context
from services.control_plane.following import EventStream, Slots
from services.control_plane.main import create_app
from services.control_plane.settings import Settings
from tests.services.control_plane.conftest import AUTHORIZED
from tests.services.control_plane.followers import wait_for
from tests.services.control_plane.records import JOB


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """The application on a free port of this process."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none")
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    serving = asyncio.create_task(server.serve(sockets=[socket]))
    try:
        await wait_for(lambda: server.started or serving.done())
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        socket.close()


@pytest.mark.usefixtures("redis")
async def test_a_follower_that_goes_away_is_freed_at_once_and_its_place_is_free_again(settings: Settings):
    app = create_app(settings.model_copy(update={"max_team_streams": 1}))
    async with served(app) as url, httpx.AsyncClient(base_url=url, headers=AUTHORIZED) as api:
        job = (await api.post("/v1/jobs", json=JOB)).json()["id"]
        context: Context = app.state.context
        for _ in range(3):
            async with api.stream("GET", f"/v1/jobs/{job}/events") as stream:
                assert stream.headers["content-type"].startswith("text/event-stream")
                lines = stream.aiter_lines()  # held: a generator that nobody holds closes the connection
                await anext(lines)
                for path in (f"/v1/jobs/{job}/events", f"/v1/jobs/{job}/logs?follow=true"):
                    refused = await api.get(path)
                    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
                    assert refused.headers["retry-after"] == "5"
                assert (await api.get(f"/v1/jobs/{job}/logs")).status_code == 200  # a page is no stream
            async with asyncio.timeout(5):  # far sooner than a comment would find the connection broken
                await wait_for(lambda: not context.hub.num_followers and not context.slots.num_taken)
        async with api.stream("GET", f"/v1/jobs/{job}/logs?follow=true"):
            assert context.slots.num_taken == 1
        async with asyncio.timeout(5):
            await wait_for(lambda: not context.slots.num_taken)


def test_streams_are_bounded_for_a_team_and_for_all():
    slots = Slots(of_all=3, of_team=2)
    with slots.taken("a"), slots.taken("a"):
        with pytest.raises(TooManyStreams, match="team a follows 2"), slots.taken("a"):
            raise AssertionError("there was no place left")
        with slots.taken("b"), pytest.raises(TooManyStreams, match="sends 3"), slots.taken("c"):
            raise AssertionError("there was no place left")
    assert slots.num_taken == 0
    with slots.taken("a"):
        assert slots.num_taken == 1


async def test_a_client_that_takes_nothing_is_let_go_and_what_it_held_is_freed():
    freed = asyncio.Event()
    sent: list[dict[str, Any]] = []

    async def content() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b": more\n\n"
        finally:
            freed.set()

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == 4:
            await asyncio.Event().wait()  # the connection takes nothing more

    async with asyncio.timeout(5):
        await EventStream(content(), send_s=0.05).stream_response(send)
    assert freed.is_set()
    assert [message.get("more_body") for message in sent] == [None, True, True, True]  # and no end
