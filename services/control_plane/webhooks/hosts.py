"""Where webhooks may go: hosts that the operator lists, and no private address that isn't listed itself."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from distill.contracts.errors import InvalidSpec
from distill.contracts.notify import NotifySpec

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
PORTS = {"http": 80, "https": 443}
TRANSLATED = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96")))
"""IPv6 addresses behind which a translator may reach any IPv4 address, private ones too."""


@dataclass(frozen=True)
class AllowedHosts:
    """The operator's list."""

    hosts: frozenset[tuple[str, int | None]] = frozenset()
    """Name or address, and its port; without one, 80 for http and 443 for https."""
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    """Addresses that may be reached although they are private."""

    @classmethod
    def parse(cls, entries: Iterable[str]) -> "AllowedHosts":
        """From such as ``hooks.example.com``, ``ci.internal:8443``, ``10.1.2.3`` and ``10.1.0.0/16``.

        Raises:
            InvalidSpec: an entry is none of these.
        """
        hosts, networks = set(), []
        for entry in entries:
            if (network := _network(entry)) is not None:
                networks.append(network)
                continue
            host, port = _host_and_port(entry)
            hosts.add((host, port))
            if (address := _address(host)) is not None:
                networks.append(ipaddress.ip_network(address))
        return cls(frozenset(hosts), tuple(networks))

    def allows(self, url: str) -> bool:
        """Whether the host and port of ``url`` are listed."""
        parts = urlsplit(url)
        host, port = host_of(url), port_of(parts)
        if (host, port) in self.hosts:
            return True
        address = _address(host)
        is_listed = (host, None) in self.hosts or (address is not None and self._lists(address))
        return is_listed and port == PORTS[parts.scheme]

    def allows_address(self, text: str) -> bool:
        """Whether this address of a listed host may be reached: it is public, or listed."""
        address = ipaddress.ip_address(text.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if self._lists(address):
            return True
        is_a_way_round = isinstance(address, ipaddress.IPv6Address) and (
            address.sixtofour is not None
            or address.teredo is not None
            or address.is_site_local
            or any(address in network for network in TRANSLATED)
        )
        return address.is_global and not address.is_multicast and not is_a_way_round

    def _lists(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


NOBODY = AllowedHosts()


def check_notify(notify: NotifySpec | None, allowed: AllowedHosts, *, field: str) -> None:
    """See that whom the file names may be told.

    Raises:
        InvalidSpec: the host is not on the operator's list.
    """
    if notify is None:
        return
    try:
        if allowed.allows(notify.url):
            return
    except ValueError:  # a port that is none
        pass
    host = urlsplit(notify.url).netloc
    raise InvalidSpec(
        f"{field}: webhooks to {host} are not allowed here",
        field=field,
        got=host,
        expected="a host on the operator's list"
        if allowed.hosts or allowed.networks
        else "no webhook: none is allowed here",
        hint="the operator lists hosts in STILLHOUSE_WEBHOOK_HOSTS",
    )


def host_of(url: str) -> str:
    """The host of ``url``, without its port."""
    return (urlsplit(url).hostname or "").rstrip(".")


def port_of(parts: SplitResult) -> int:
    """The port; the scheme's own where none is named. Raises ValueError where it is no port."""
    return parts.port or PORTS[parts.scheme]


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry)
    except ValueError:
        return None


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _host_and_port(entry: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{entry}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or entry.lower() != (parts.netloc.lower()) or "@" in entry or not _is_host(host):
        raise InvalidSpec(
            f"STILLHOUSE_WEBHOOK_HOSTS: {entry!r} is not a host",
            field="STILLHOUSE_WEBHOOK_HOSTS",
            got=entry,
            expected="such as hooks.example.com, ci.internal:8443, 10.1.2.3 or 10.1.0.0/16, with commas between them",
        )
    return host.rstrip("."), port


def _is_host(host: str) -> bool:
    return _address(host) is not None or all(one.isalnum() or one in ".-" for one in host)
