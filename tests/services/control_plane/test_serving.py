"""How the control plane's server ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.responses import StreamingResponse

from distill.contracts.settings import NodeSettings
from services.control_plane.serving import server_of
from services.control_plane.settings import Settings
from services.stack.processes import free_ports
from tests.faults.redis_to_break import until


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a server that soon loses its patience with requests when it is told to stop."""
    monkeypatch.setattr("services.control_plane.serving.STOPPING_S", 0.1)
    node = NodeSettings(redis_url="redis://127.0.0.1:1", storage=tmp_path, data_root=tmp_path, cache=tmp_path)
    return Settings(node=node, ray_dashboard="http://127.0.0.1:1", port=free_ports(1)[0])


@asynccontextmanager
async def serving(app: FastAPI, settings: Settings) -> AsyncIterator[tuple[uvicorn.Server, httpx.AsyncClient]]:
    """The server, and a client of it; whoever uses them stops it."""
    server = server_of(app, settings)
    served = asyncio.create_task(server.serve())

    async def has_started() -> bool:
        return server.started

    await until(has_started)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.port}", timeout=20) as client:
        yield server, client
    await served


async def test_a_request_without_an_answer_when_the_server_is_stopped_is_answered_503(settings: Settings):
    app, is_there = FastAPI(), asyncio.Event()

    @app.post("/waits")
    async def waits() -> None:
        is_there.set()
        await asyncio.Event().wait()

    async with serving(app, settings) as (server, client):
        asked = asyncio.create_task(client.post("/waits"))
        await is_there.wait()
        server.should_exit = True
        answer = await asked
    assert (answer.status_code, answer.json()["code"]) == (503, "dependency_down")
    assert "being stopped" in answer.json()["detail"]
    assert "Retry-After" in answer.headers


async def test_an_answer_that_has_begun_when_the_server_is_stopped_is_cut(settings: Settings):
    app = FastAPI()

    async def parts() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(parts())

    async with serving(app, settings) as (server, client), client.stream("GET", "/stream") as answer:
        received = answer.aiter_raw()
        assert await anext(received) == b"first"
        server.should_exit = True
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(received)
