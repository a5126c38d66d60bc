"""A small real HTTP server that speaks as the control plane does, with a past that each test writes.

`House` is what it knows; each of the other modules has a part of the routes, over that.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

from services.control_plane import problems
from tests.services.client.stub_house import jobs, left, operating, pool, studies
from tests.services.client.stub_house.knowledge import House
from tests.services.client.stub_house.records import KEY_ID, NOON, SPEC, Sent, a_job, a_short_life, an_event

__all__ = ["KEY_ID", "NOON", "SPEC", "House", "Sent", "a_job", "a_short_life", "an_event", "make_app", "serving"]


def make_app(house: House) -> FastAPI:
    """The routes, over what ``house`` knows."""
    app = FastAPI()
    problems.install(app)

    @app.middleware("http")
    async def note(request: Request, call_next: Any) -> Any:
        query = f"?{request.url.query}" if request.url.query else ""
        house.asked.append((request.method, request.url.path + query, dict(request.headers)))
        return await call_next(request)

    for room in (jobs, studies, left, pool, operating):
        app.include_router(room.routes(house))
    return app


@contextmanager
def serving(house: House) -> Iterator[House]:
    """``house`` on a free port of the loopback address."""
    config = uvicorn.Config(make_app(house), host="127.0.0.1", port=0, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
    thread.start()
    house.url = f"http://127.0.0.1:{socket.getsockname()[1]}"
    try:
        yield house
    finally:
        server.should_exit = True
        thread.join()
        socket.close()
