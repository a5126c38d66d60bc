"""What the environment tells a training loop that is no part of the cluster; read once, where its pool is opened."""

import os
from collections.abc import Mapping

from distill.contracts.base import Spec

DEFAULT_URL = "http://127.0.0.1:8470"


class ClientSettings(Spec):
    """Where the control plane is."""

    url: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "ClientSettings":
        """Read ``STILLHOUSE_URL``; left out, the usual place of a stack on this machine."""
        return cls(url=environment.get("STILLHOUSE_URL") or DEFAULT_URL)
