"""Whom webhooks may tell: the operator's list, addresses that nobody may be lured to, and what is refused at submit."""

import httpx
import pytest

from distill.contracts.errors import InvalidSpec
from services.control_plane.webhooks.hosts import AllowedHosts
from tests.services.control_plane.records import JOB


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://hooks.example.com/a?b=c", True),
        ("http://hooks.example.com/", True),
        ("https://HOOKS.example.com./", True),
        ("https://hooks.example.com:8443/", False),
        ("https://ci.internal:8443/", True),
        ("https://ci.internal/", False),
        ("http://10.1.2.3/", True),
        ("http://10.1.2.3:6379/", False),
        ("http://10.2.0.1/", False),
        ("https://hooks.example.com.evil.org/", False),
        ("https://evil.org/hooks.example.com", False),
        ("http://[::1]/", False),
        ("http://2130706433/", False),
    ],
)
def test_only_what_is_listed_is_allowed(url: str, allowed: bool):
    hosts = AllowedHosts.parse(["hooks.example.com", "ci.internal:8443", "10.1.0.0/16"])
    assert hosts.allows(url) is allowed


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "0.0.0.0", "::1", "fe80::1%eth0", "fd00::1",
     "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "224.0.0.1", "100.64.0.1", "fec0::1", "64:ff9b:1::7f00:1",
     "::7f00:1", "::ffff:0:127.0.0.1", "::ffff:0:5db8:d70e"],
)  # fmt: skip
def test_private_addresses_need_to_be_listed_themselves(address: str):
    assert not AllowedHosts.parse(["hooks.example.com"]).allows_address(address)


def test_a_public_address_may_be_reached():
    assert AllowedHosts.parse(["hooks.example.com"]).allows_address("93.184.215.14")


@pytest.mark.parametrize(
    "entry", ["https://a.example.com", "a b", "user@a.example.com", "a.example.com/x", "a:port", "*"]
)
def test_an_entry_that_is_no_host_is_refused_with_an_example(entry: str):
    with pytest.raises(InvalidSpec, match="is not a host") as refused:
        AllowedHosts.parse([entry])
    assert "hooks.example.com" in refused.value.details["expected"]


@pytest.mark.parametrize(
    "url", ["ftp://a.example.com", "https://user:word@a.example.com/", "https://a.example.com/ b", "//a", "https://a#b"]
)
async def test_what_is_no_address_of_a_webhook_is_refused_at_submit(api: httpx.AsyncClient, url: str):
    answer = await api.post("/v1/jobs", json=JOB | {"notify": {"url": url}})
    assert (answer.status_code, answer.json()["field"]) == (422, "notify.url")


async def test_nobody_may_be_told_unless_the_operator_says_so(api: httpx.AsyncClient):
    notify = {"url": "https://hooks.example.com/"}
    answer = await api.post("/v1/jobs", json=JOB | {"notify": notify})
    assert (answer.status_code, answer.json()["field"], answer.json()["got"]) == (
        422,
        "notify.url",
        "hooks.example.com",
    )
    assert "STILLHOUSE_WEBHOOK_HOSTS" in answer.json()["hint"]
    for file, field in (
        ({"notify": notify, "job": JOB}, "notify.url"),
        ({"job": JOB | {"notify": notify}}, "job.notify.url"),
    ):
        answer = await api.post("/v1/studies", json={"name": "s", **file})
        assert (answer.status_code, answer.json()["field"]) == (422, field)
