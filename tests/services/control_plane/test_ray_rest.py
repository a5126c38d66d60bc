"""Ray's dashboard is spoken to only where nobody else can make it run their code."""

from typing import Any

import httpx
import pytest

from distill.contracts.errors import DependencyDown
from services.control_plane.ray_rest import RayRest


def a_dashboard(monkeypatch: pytest.MonkeyPatch, answers: Any, asked: list[httpx.Request]) -> None:
    """Every client of httpx meets this one."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(answers(request), json={"status": "RUNNING"})

    made = httpx.AsyncClient
    monkeypatch.setattr(httpx, "AsyncClient", lambda **more: made(**more, transport=httpx.MockTransport(answer)))


@pytest.fixture
def token(tmp_path):
    (tmp_path / "token").write_text("secret")
    return tmp_path / "token"


def by_token(request: httpx.Request) -> int:
    return 200 if request.headers.get("authorization") == "Bearer secret" else 401


async def test_one_on_the_network_that_asks_nobody_for_a_token_is_sent_nothing(monkeypatch, token):
    asked: list[httpx.Request] = []
    a_dashboard(monkeypatch, lambda _: 200, asked)
    ray = RayRest("http://ray-head:8265", token)
    for _ in range(2):
        with pytest.raises(DependencyDown, match="asks nobody for a token"):
            await ray.job("digits-1")
    assert [(one.url.path, "authorization" in one.headers) for one in asked] == [("/api/version", False)] * 2


async def test_one_on_the_network_that_asks_for_its_token_is_tried_once(monkeypatch, token):
    asked: list[httpx.Request] = []
    a_dashboard(monkeypatch, by_token, asked)
    ray = RayRest("http://ray-head:8265", token)
    for _ in range(2):
        assert (await ray.job("digits-1")).state == "RUNNING"
    assert [one.url.path for one in asked] == ["/api/version", "/api/jobs/digits-1", "/api/jobs/digits-1"]


async def test_one_that_only_fails_is_tried_again(monkeypatch, token):
    asked: list[httpx.Request] = []
    a_dashboard(monkeypatch, lambda _: 500, asked)
    ray = RayRest("http://ray-head:8265", token)
    for _ in range(2):
        with pytest.raises(DependencyDown, match="500"):
            await ray.ping()
    assert [one.url.path for one in asked] == ["/api/version", "/api/version"] * 2


@pytest.mark.parametrize("url", ["http://127.0.0.1:8265", "http://localhost:8265", "http://[::1]:8265"])
async def test_one_on_loopback_is_trusted(monkeypatch, url):
    asked: list[httpx.Request] = []
    a_dashboard(monkeypatch, lambda _: 200, asked)
    await RayRest(url, None).job("digits-1")
    assert [one.url.path for one in asked] == ["/api/jobs/digits-1"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["missing", "no text"])
async def test_a_token_that_cannot_be_read_is_named_with_its_setting(monkeypatch, tmp_path, content):
    asked: list[httpx.Request] = []
    a_dashboard(monkeypatch, lambda _: 200, asked)
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(DependencyDown, match="RAY_AUTH_TOKEN_PATH") as caught:
        await RayRest("http://127.0.0.1:8265", tmp_path / "token").ping()
    assert str(tmp_path / "token") in caught.value.message
    assert asked == []
