"""What the client says of teams and keys, of the audit log, and of upkeep: the operator's part."""

from collections.abc import Iterator
from datetime import datetime
from urllib.parse import quote

from distill.contracts.keys import KeyRotation, KeySpec, KeyView, NewKey
from distill.contracts.teams import TeamRecord, TeamSpec
from services.client.wire import Wire
from services.control_plane.views import AuditLink, AuditPage, AuditVerdict, Collected, KeyList, TeamList, TeamView

COLLECT_S = 3600.0
"""A large storage takes its time to be looked through."""


class Operating:
    """A part of `StillhouseClient`."""

    _wire: Wire

    # Teams

    def teams(self) -> list[TeamView]:
        """Every team that is granted something, or has jobs that have not ended."""
        return self._wire.ask(TeamList, "GET", "/v1/teams").items

    def team(self, team: str) -> TeamView:
        """What a team is granted, and what it has of that now."""
        return self._wire.ask(TeamView, "GET", f"/v1/teams/{quote(team, safe='')}")

    def grant(self, team: str, granted: TeamSpec) -> TeamRecord:
        """Set a team's weight and quotas, all of them."""
        body = granted.model_dump(mode="json")
        return self._wire.ask(TeamRecord, "PUT", f"/v1/teams/{quote(team, safe='')}", body=body)

    # Keys, which an admin makes

    def create_key(self, spec: KeySpec) -> NewKey:
        """Make a key; what comes back holds it, this once."""
        return self._wire.ask(NewKey, "POST", "/v1/keys", body=spec.model_dump(mode="json"))

    def keys(self) -> list[KeyView]:
        """Every key of every team, without its secret."""
        return self._wire.ask(KeyList, "GET", "/v1/keys").items

    def rotate_key(self, key: str, rotation: KeyRotation) -> NewKey:
        """Give the key with this id a new secret.

        Raises:
            Conflict: it was revoked, or has expired.
        """
        path = f"/v1/keys/{quote(key, safe='')}/rotate"
        return self._wire.ask(NewKey, "POST", path, body=rotation.model_dump(mode="json"))

    def revoke_key(self, key: str) -> KeyView:
        """End the key with this id.

        Raises:
            Conflict: it is the last admin key.
        """
        return self._wire.ask(KeyView, "DELETE", f"/v1/keys/{quote(key, safe='')}")

    # The audit log

    def audit(
        self,
        *,
        key: str | None = None,
        path: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[AuditLink]:
        """Changes that were asked for and what they were answered, newest first: an admin's of all teams, unless it names one."""
        query: dict[str, str | None] = {"key": key, "path": path, "limit": "200"}
        query |= {name: at.isoformat() for name, at in (("since", since), ("until", until)) if at is not None}
        while True:
            page = self._wire.ask(AuditPage, "GET", "/v1/audit", query=query)
            yield from page.items
            if page.next is None:
                return
            query["cursor"] = page.next

    def verify_audit(self, *, noted: str | None = None) -> AuditVerdict:
        """Walk the whole log; ``noted`` is the head of an earlier verification, which must still be in it."""
        return self._wire.ask(AuditVerdict, "GET", "/v1/audit/verify", query={"noted": noted}, timeout_s=COLLECT_S)

    # Upkeep

    def collect_garbage(self, *, dry_run: bool = False) -> Collected:
        """Remove what has had its time, or say what would go."""
        query = {"dry_run": "true" if dry_run else None}
        return self._wire.ask(Collected, "POST", "/v1/gc", query=query, timeout_s=COLLECT_S)
