"""A reservation of a teacher, held for as long as a training loop of one's own needs it.

    with HeldReservation("fashion@prod", rows_per_s=5000) as held:
        ...             # held.id and held.door tell where to ask

A thread renews it. Should the control plane be away for longer than it lasts, the thread opens another one for the very
same version once it is back. What is never closed ends by itself.
"""

import json
import logging
import random
import threading
from typing import Self

from pydantic import ValidationError

from distill.contracts.errors import NotFound, StillhouseError
from distill.contracts.pool import Reservation
from distill.contracts.teachers import ResolvedTeacher
from teacher_server.settings import ClientSettings
from teacher_server.web import Connection

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
LONGEST_PAUSE_S = 1.0
"""Between tries, while the control plane doesn't answer."""


class HeldReservation:
    """One reservation: opened here, renewed in the background, closed at the end."""

    def __init__(
        self,
        teacher: str,
        *,
        rows_per_s: float,
        url: str | None = None,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Open it.

        Args:
            teacher: ``name@version`` or ``name@alias``; the alias is resolved now, and never again.
            rows_per_s: how many rows the loop can take a second: replicas follow from it.
            url: of the control plane; left out, ``STILLHOUSE_URL``, else this machine's stack.
            key: an API key with the scope ``submit``; left out, ``STILLHOUSE_KEY``, else the file that
                ``STILLHOUSE_KEY_FILE`` names, else this machine's stack's own.
            timeout_s: for each answer of the control plane.

        Raises:
            NotAuthenticated: there is no key, or it doesn't hold.
            Forbidden: it may not submit.
            DependencyDown: the control plane doesn't answer.
            UnknownTeacher: there is no such teacher, or it isn't READY.
            InvalidSpec: something else of it can't be.
        """
        found = ClientSettings.from_environment(url=url)
        self._url, self.key = found.url, key or found.key
        self._rows_per_s = rows_per_s
        self._timeout_s = timeout_s
        self._held = self._open(teacher)
        # by the other clock alone, since two machines' differ
        self._life_s = max(0.1, (self._held.expires_at - self._held.created_at).total_seconds())
        self._renewing = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="reservation", daemon=True)
        self._thread.start()

    @property
    def current(self) -> Reservation:
        """What the control plane last said; another one, where it had to be opened anew."""
        return self._held

    @property
    def id(self) -> str:
        """Of the reservation: what the door is asked with."""
        return self._held.id

    @property
    def door(self) -> str:
        """Base URL of the pool's HTTP door: ``<door>/reservations/<id>/answer`` answers."""
        return self._held.door

    @property
    def team(self) -> str:
        """In whose name rows are asked."""
        return self._held.team

    @property
    def teacher(self) -> ResolvedTeacher:
        """The version, and its manifest: the same for as long as this is held."""
        return self._held.teacher

    def renew(self) -> None:
        """Renew it now, or open it anew where it has ended; the background does so by itself in time.

        Raises:
            DependencyDown: the control plane doesn't answer.
            StillhouseError: it refuses, and says why.
        """
        with self._renewing:
            if self._closing.is_set():
                return
            try:
                self._held = self._ask("POST", f"/v1/reservations/{self._held.id}/renew")
            except NotFound:
                # the version itself: an alias may have moved on, and a student learns from one teacher
                self._held = self._open(self._held.teacher.reference)

    def close(self) -> None:
        """Give the teacher back; harmless if done again."""
        if self._closing.is_set():
            return
        self._closing.set()
        with self._renewing:
            try:
                self._send("DELETE", f"/v1/reservations/{self._held.id}")
            except StillhouseError as error:
                log.info("reservation %s ends by itself: %s", self._held.id, error)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _keep(self) -> None:
        pause_s, is_well = self._life_s / 3, True
        while not self._closing.wait(pause_s):
            pause_s = self._life_s / 3
            try:
                self.renew()
                is_well = True
            except StillhouseError as error:
                # half of it at random, so that those who failed together don't return together
                pause_s = min(pause_s, LONGEST_PAUSE_S * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                if is_well:
                    log.warning("reservation %s can't be renewed: %s", self._held.id, error)
                is_well = False

    def _open(self, teacher: str) -> Reservation:
        return self._ask("POST", "/v1/reservations", teacher=teacher, rows_per_s=self._rows_per_s)

    def _ask(self, method: str, path: str, **fields: object) -> Reservation:
        answer = self._send(method, path, **fields)
        try:
            return Reservation.model_validate_json(answer)
        except ValidationError as error:
            raise StillhouseError(
                f"{self._url} answered {method} {path} with something that isn't a Reservation: "
                "is it a Stillhouse of another version?"
            ) from error

    def _send(self, method: str, path: str, **fields: object) -> bytes:
        # one connection each: renewals are further apart than servers keep them
        connection = Connection(self._url, timeout_s=self._timeout_s, key=self.key)
        content = json.dumps(fields).encode() if fields else None
        try:
            return connection.send(method, path, content=content, media_type="application/json")
        finally:
            connection.close()
