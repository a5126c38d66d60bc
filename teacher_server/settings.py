"""What the environment tells a training loop that is no part of the cluster; read once, where its pool is opened."""

import os
from collections.abc import Mapping

from pydantic import Field

from distill.contracts.base import Spec
from distill.contracts.credentials import find_key, home_folder, url_of_stack

DEFAULT_URL = "http://127.0.0.1:8470"


class ClientSettings(Spec):
    """Where the control plane is, and with which key to ask."""

    url: str
    key: str | None = Field(default=None, repr=False)

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] = os.environ, *, url: str | None = None
    ) -> "ClientSettings":
        """``url``, else ``STILLHOUSE_URL``, else the stack of this home, else its usual place; with the key that is for it.

        Raises:
            InvalidSpec: the key that the environment names is none.
        """
        found = url or environment.get("STILLHOUSE_URL") or url_of_stack(home_folder(environment)) or DEFAULT_URL
        return cls(url=found, key=find_key(found, environment))
