"""Servers on this machine: which they are, and how to ask them so that nothing stands between.

Proxies of the environment (``HTTP_PROXY`` and its kin) are for the way out. To them loopback is another machine's, and a key
or a token that is sent through one is theirs to read.
"""

import http.client
import ipaddress
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def is_on_loopback(url: str) -> bool:
    """Whether only this machine can reach the server at ``url``."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def json_at(url: str, *, headers: Mapping[str, str] | None = None, timeout_s: float = 5.0) -> Any:
    """What one of our own servers on loopback answers with a 2xx; None where it doesn't, or with what is no JSON."""
    request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310 - our own http address
    try:
        with _DIRECTLY.open(request, timeout=timeout_s) as response:
            return json.load(response)
    except (urllib.error.URLError, OSError, ValueError, http.client.HTTPException):
        return None
