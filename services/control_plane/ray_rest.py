"""Ray's dashboard over REST: jobs, applications, and what the cluster has. The control plane is never a Ray driver."""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx

from distill.contracts.errors import DependencyDown
from services.loopback import is_on_loopback

TIMEOUT_S = 20.0
"""Of a whole request, however slowly the answer trickles in."""

DRIVER = re.compile(r"exec python -m student_worker --job (?P<job>[a-z0-9-]+) --attempt (?P<attempt>\d+)")
"""The entrypoint of an attempt's driver."""


class RayJobState(StrEnum):
    """What Ray says of a job; ABSENT where it knows none of that name."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    ABSENT = "ABSENT"

    @property
    def has_ended(self) -> bool:
        """Nothing of the job runs any more."""
        return self in {RayJobState.STOPPED, RayJobState.SUCCEEDED, RayJobState.FAILED, RayJobState.ABSENT}


@dataclass(frozen=True)
class RayJob:
    """A Ray job, as far as we care."""

    state: RayJobState
    message: str = ""


@dataclass(frozen=True)
class Driver:
    """A Ray job that runs an attempt."""

    submission: str
    job: str
    attempt: int


@dataclass(frozen=True)
class Proxy:
    """Where Serve listens."""

    location: str
    port: int


@dataclass(frozen=True)
class ClusterResources:
    """What a cluster has, or what something takes of it."""

    cpus: float = 0.0
    gpus: float = 0.0

    def __add__(self, other: "ClusterResources") -> "ClusterResources":
        return ClusterResources(cpus=self.cpus + other.cpus, gpus=self.gpus + other.gpus)

    def __sub__(self, other: "ClusterResources") -> "ClusterResources":
        return ClusterResources(cpus=self.cpus - other.cpus, gpus=self.gpus - other.gpus)

    def holds(self, need: "ClusterResources") -> bool:
        """Whether ``need`` fits."""
        return need.cpus <= self.cpus and need.gpus <= self.gpus

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs" + (f" and {self.gpus:g} GPUs" if self.gpus else "")


class RayRest:
    """A client of one cluster's dashboard. Every failure to answer is `DependencyDown`."""

    def __init__(self, base_url: str, token_path: Path | None) -> None:
        self._token_path = token_path
        self._is_guarded = is_on_loopback(base_url)
        # a proxy of the environment would be shown the token
        self._http = httpx.AsyncClient(base_url=base_url, timeout=TIMEOUT_S, trust_env=False)

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()

    async def submit(self, submission_id: str, arguments: list[str], *, environment: Mapping[str, str]) -> None:
        """Start ``python -m <arguments>`` as a Ray job; one that exists already is left as it is."""
        assert all(_is_plain(argument) for argument in arguments), arguments  # noqa: S101 - all are made by us
        body = {
            "submission_id": submission_id,
            "entrypoint": " ".join(["exec", "python", "-m", *arguments]),
            "runtime_env": {"env_vars": dict(environment)},
        }
        response = await self._send("POST", "/api/jobs/", json=body, allowed=(400, 500))
        if response.is_success or (await self.job(submission_id)).state is not RayJobState.ABSENT:
            return
        raise DependencyDown(f"Ray refused to start {submission_id}: {response.text[:500]}")

    async def job(self, submission_id: str) -> RayJob:
        """What Ray knows of the job."""
        response = await self._send("GET", f"/api/jobs/{submission_id}", allowed=(404,))
        if response.status_code == httpx.codes.NOT_FOUND:
            return RayJob(RayJobState.ABSENT)
        with _readable(response):
            body = response.json()
            return RayJob(RayJobState(body["status"]), str(body.get("message") or ""))

    async def drivers(self) -> list[Driver]:
        """Every attempt's driver that Ray has started, or is about to, and that hasn't ended."""
        response = await self._send("GET", "/api/jobs/")
        with _readable(response):
            return [found for details in response.json() if (found := _driver_of(details)) is not None]

    async def stop(self, submission_id: str) -> None:
        """Signal the job's driver (SIGINT, then SIGKILL); one that is gone is fine, and so is asking twice."""
        await self._send("POST", f"/api/jobs/{submission_id}/stop", allowed=(400, 404))

    async def logs(self, submission_id: str) -> str:
        """What the job printed."""
        response = await self._send("GET", f"/api/jobs/{submission_id}/logs", allowed=(400, 404, 500))
        if not response.is_success:
            return ""
        with _readable(response):
            return str(response.json().get("logs", ""))

    async def applications(self) -> dict[str, int]:
        """Name -> replicas, of the Serve applications that a configuration asked for; a program's are its own."""
        response = await self._send("GET", "/api/serve/applications/")
        with _readable(response):
            found: dict[str, Any] = response.json().get("applications") or {}
            ours = [details for details in found.values() if details.get("source") == "declarative"]
            return asked_replicas(details.get("deployed_app_config") or {"name": details["name"]} for details in ours)

    async def proxy(self) -> Proxy | None:
        """Serve's HTTP proxy, as it was asked for when Serve first started; None where it hasn't yet."""
        response = await self._send("GET", "/api/serve/applications/")
        with _readable(response):
            found = response.json()
            if not found.get("http_options"):
                return None
            return Proxy(location=str(found["proxy_location"]), port=int(found["http_options"]["port"]))

    async def put_applications(self, config: Mapping[str, Any]) -> None:
        """Make the set of Serve applications equal to ``config``."""
        await self._send("PUT", "/api/serve/applications/", json=dict(config))

    async def resources(self) -> ClusterResources:
        """What the living nodes have in all; a cluster that is just starting may say that it has nothing."""
        response = await self._send("GET", "/nodes", params={"view": "summary"})
        with _readable(response):
            nodes = [node["raylet"] for node in response.json()["data"]["summary"]]
        totals = [node.get("resourcesTotal", {}) for node in nodes if node.get("state") == "ALIVE"]
        return ClusterResources(
            cpus=sum(total.get("CPU", 0.0) for total in totals), gpus=sum(total.get("GPU", 0.0) for total in totals)
        )

    async def ping(self) -> None:
        """Raises DependencyDown unless the dashboard answers."""
        await self._send("GET", "/api/version")

    async def _send(
        self,
        method: str,
        path: str,
        *,
        json: dict[str, Any] | None = None,
        params: dict[str, str] | None = None,
        allowed: tuple[int, ...] = (),
    ) -> httpx.Response:
        if not self._is_guarded:
            await self._see_that_it_is_guarded()
        headers = self._token()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                response = await self._http.request(method, path, json=json, params=params, headers=headers)
        except (httpx.HTTPError, OSError) as error:  # a time-out is an OSError
            raise DependencyDown(f"Ray's dashboard doesn't answer: {error or type(error).__name__}") from error
        if response.is_success or response.status_code in allowed:
            return response
        raise DependencyDown(
            f"Ray's dashboard answered {response.status_code} to {method} {path}: {response.text[:500]}"
        )

    def _token(self) -> dict[str, str]:
        """The header that shows Ray's token, read anew each time: the operator may change it. Raises DependencyDown."""
        if self._token_path is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self._token_path.read_text(encoding='ascii').strip()}"}
        except (OSError, UnicodeDecodeError) as error:
            raise DependencyDown(
                f"Ray's token can't be read from {self._token_path}, which RAY_AUTH_TOKEN_PATH names: {error}"
            ) from error

    async def _see_that_it_is_guarded(self) -> None:
        """Raises DependencyDown where a dashboard that others can reach asks nobody for a token."""
        try:
            response = await self._http.get("/api/version")
        except (httpx.HTTPError, OSError) as error:
            raise DependencyDown(f"Ray's dashboard doesn't answer: {error or type(error).__name__}") from error
        if response.is_success:
            raise DependencyDown(
                f"Ray's dashboard at {self._http.base_url} is on the network and asks nobody for a token: it is not used",
                hint="start Ray with RAY_AUTH_MODE=token, or reach it on loopback",
            )
        self._is_guarded = response.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}


@contextmanager
def _readable(response: httpx.Response) -> Iterator[None]:
    """What isn't the answer that we know, as one that was cut short, is as good as none."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        asked = f"{response.request.method} {response.request.url.path}"
        raise DependencyDown(
            f"Ray's dashboard answered {asked} with what can't be read: {response.text[:200]!r}"
        ) from error


def asked_replicas(applications: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Name -> replicas that the configuration of each application asks for, of all its deployments; 1 by default."""
    return {
        str(application["name"]): sum(one.get("num_replicas") or 1 for one in application.get("deployments") or [{}])
        for application in applications
    }


def _driver_of(details: Mapping[str, Any]) -> Driver | None:
    match = DRIVER.fullmatch(str(details["entrypoint"]))
    if match is None or RayJobState(details["status"]).has_ended:
        return None
    return Driver(submission=str(details["submission_id"]), job=match["job"], attempt=int(match["attempt"]))


def _is_plain(argument: str) -> bool:
    return all(character.isalnum() or character in "-_.=" for character in argument)
