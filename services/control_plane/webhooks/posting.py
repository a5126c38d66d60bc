"""One try at telling someone: to an address that was looked up and checked, and nowhere else."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import urlsplit, urlunsplit

import httpx

from services.control_plane.webhooks.hosts import AllowedHosts, host_of, port_of

TIMEOUT_S = 10.0
GONE = 410

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Host and port -> its addresses."""


class NotTold(Exception):
    """The try failed; the text says why."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        self.for_good = for_good
        """The receiver wants to be told nothing any more."""


class Resolver:
    """The system's resolver, in threads of its own: names that hang in it hold up nothing but themselves.

    The event loop's threads read files and look up Redis; a few black-holed names would fill them all.
    """

    def __init__(self, num_threads: int) -> None:
        """A thread is made when it is needed."""
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="webhook-names")

    async def __call__(self, host: str, port: int) -> list[str]:
        """Its addresses. Raises socket.gaierror."""
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def close(self) -> None:
        """Look nothing up any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def post(
    url: str, body: bytes, headers: Mapping[str, str], allowed: AllowedHosts, *,
    resolve: Resolve, timeout_s: float = TIMEOUT_S,
) -> None:  # fmt: skip
    """Post once; redirects are not followed, proxies of the environment not used, and the answer's body is not read.

    Raises:
        NotTold: the host is not allowed any more, one of its addresses is private, it can't be reached, or it didn't
            answer with a 2xx within ``timeout_s``.
    """
    if not allowed.allows(url):
        raise NotTold("its host is not on the operator's list")
    try:
        async with asyncio.timeout(timeout_s):
            address = await _checked_address(url, allowed, resolve)
            status = await _post_to(address, url, body, headers, timeout_s)
    except (TimeoutError, httpx.TimeoutException) as error:
        raise NotTold(f"no answer within {timeout_s:.0f} s") from error
    except socket.gaierror as error:
        raise NotTold(f"the name {host_of(url)} can't be resolved") from error
    except (httpx.HTTPError, OSError) as error:
        raise NotTold(f"the connection failed: {type(error).__name__}") from error
    if not 200 <= status < 300:
        what = "a redirect, which is not followed" if 300 <= status < 400 else "no 2xx"
        raise NotTold(f"it answered {status}: {what}", for_good=status == GONE)


async def _checked_address(url: str, allowed: AllowedHosts, resolve: Resolve) -> str:
    addresses = await resolve(host_of(url), port_of(urlsplit(url)))
    if not addresses or not all(allowed.allows_address(address) for address in addresses):
        raise NotTold("its name stands for a private address that is not on the operator's list")
    return addresses[0]


async def _post_to(address: str, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> int:
    """The status that ``address`` answers with; the name is not looked up again, and the certificate must be its own."""
    parts = urlsplit(url)
    literal = f"[{address}]" if ":" in address else address
    target = urlunsplit((parts.scheme, f"{literal}:{port_of(parts)}", parts.path or "/", parts.query, ""))
    sent = {**headers, "Host": parts.netloc, "Content-Type": "application/json", "User-Agent": "stillhouse"}
    async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=timeout_s) as client:
        request = client.build_request(
            "POST", target, content=body, headers=sent, extensions={"sni_hostname": host_of(url)}
        )
        response = await client.send(request, stream=True)
        await response.aclose()
        return response.status_code
