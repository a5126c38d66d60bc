"""What stays on this machine, and Ray's token, is shown to no proxy that the environment names."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from distill.contracts.errors import StillhouseError
from distill.contracts.keys import new_key, new_key_id
from distill.contracts.settings import NodeSettings
from services.client.wire import Wire
from services.control_plane.ray_rest import RayRest
from services.stack.control_plane import is_ready
from services.stack.home import RayState, StackHome
from services.stack.ray_head import answers

KEY = new_key(new_key_id())

BODIES = {
    "/readyz": {"ready": True},
    "/nodes?view=summary": {"data": {"summary": [{"raylet": {"state": "ALIVE", "resourcesTotal": {"CPU": 2.0}}}]}},
}


class Server:
    """Answers everything, and remembers what it was asked for and with which key."""

    def __init__(self, *, status: int = 200) -> None:
        self.asked: list[tuple[str, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append((self.path, self.headers.get("Authorization")))
                body = json.dumps(BODIES.get(self.path, {})).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Keep the tests' output clean."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    """The one that is meant."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """One that the environment names for everything, and that can't reach this machine."""
    proxy = Server(status=502)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv(name.lower(), proxy.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield proxy
    proxy.close()


async def test_rays_token_goes_to_its_dashboard(server: Server, proxy: Server, tmp_path: Path):
    (tmp_path / "token").write_text("secret")
    ray = RayRest(server.url, tmp_path / "token")
    await ray.ping()
    await ray.close()
    assert (server.asked, proxy.asked) == ([("/api/version", "Bearer secret")], [])


def test_a_key_for_this_machine_stays_on_it(server: Server, proxy: Server):
    wire = Wire(server.url, timeout_s=5, key=KEY)
    wire.send("GET", "/readyz")
    wire.close()
    assert (server.asked, proxy.asked) == ([("/readyz", f"Bearer {KEY}")], [])


def test_a_server_elsewhere_is_reached_through_the_proxy(proxy: Server):
    wire = Wire("http://stillhouse.example", timeout_s=5)
    with pytest.raises(StillhouseError, match="502"):
        wire.send("GET", "/readyz")
    wire.close()
    assert [path for path, _ in proxy.asked] == ["http://stillhouse.example/readyz"]


def test_the_stack_sees_its_control_plane(server: Server, proxy: Server):
    assert is_ready(server.url)
    assert proxy.asked == []


def test_the_stack_sees_its_ray(server: Server, proxy: Server, tmp_path: Path):
    home = StackHome(tmp_path)
    home.token.write_text("secret")
    node = NodeSettings(redis_url="redis://nowhere", storage=tmp_path, data_root=tmp_path, cache=tmp_path)
    assert answers(RayState(ports={"dashboard-port": server.port}, folder=tmp_path, node=node), home)
    assert (server.asked, proxy.asked) == ([("/nodes?view=summary", "Bearer secret")], [])
