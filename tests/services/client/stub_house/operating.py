"""What operators do: keys, teams, garbage; and what a team reads of its usage."""

from fastapi import APIRouter, Response

from distill.contracts.keys import KeyRotation, KeySpec, KeyView, NewKey, new_key
from distill.contracts.pool import TeamUsage
from distill.contracts.teams import TeamHolding, TeamRecord, TeamSpec
from services.control_plane.audit.chain import START, seal, to_line
from services.control_plane.heads import Shown, page_of
from services.control_plane.views import AuditVerdict, Collected, KeyList, TeamList, TeamUsageList, TeamView
from tests.services.client.stub_house.knowledge import House, known
from tests.services.client.stub_house.records import KEY_ID, NOON


def routes(house: House) -> APIRouter:
    """Over what ``house`` knows."""
    router = APIRouter()

    @router.post("/v1/keys", status_code=201)
    def create_key(spec: KeySpec) -> NewKey:
        view = KeyView(
            id=KEY_ID, team=spec.team or "default", name=spec.name, scopes=spec.scopes, created_at=NOON,
            expires_at=spec.expires_at,
        )  # fmt: skip
        house.keys[view.id] = view
        return NewKey(key=new_key(view.id), record=view)

    @router.get("/v1/keys")
    def list_keys() -> KeyList:
        return KeyList(items=list(house.keys.values()))

    @router.post("/v1/keys/{key}/rotate")
    def rotate_key(key: str, rotation: KeyRotation) -> NewKey:
        house.rotations.append(rotation)
        return NewKey(key=new_key(key), record=known(house.keys, key))

    @router.delete("/v1/keys/{key}")
    def revoke_key(key: str) -> KeyView:
        house.keys[key] = known(house.keys, key).model_copy(update={"revoked_at": NOON})
        return house.keys[key]

    @router.post("/v1/gc")
    def collect(dry_run: bool = False) -> Collected:
        freed_bytes = sum(one.size_bytes for one in house.garbage)
        return Collected(dry_run=dry_run, removed=house.garbage, freed_bytes=freed_bytes, orphans={"runs/late": NOON})

    @router.get("/v1/audit")
    def read_audit(cursor: int = 0) -> Response:
        links = seal(house.audit, START)[::-1]
        shown = [Shown(str(link.number), to_line(link)) for link in links[cursor : cursor + 2]]
        return Response(page_of(shown, str(cursor + 2) if len(links) > cursor + 2 else None))

    @router.get("/v1/audit/verify")
    def verify_audit() -> AuditVerdict:
        return house.verdict

    @router.get("/v1/usage")
    def usage() -> TeamUsage:
        return house.usage

    @router.get("/v1/usage/teams")
    def usage_of_all() -> TeamUsageList:
        return TeamUsageList(items=[house.usage, house.usage.model_copy(update={"team": "other"})])

    @router.get("/v1/teams")
    def list_teams() -> TeamList:
        return TeamList(items=[read_team(team) for team in house.teams])

    @router.get("/v1/teams/{team}")
    def read_team(team: str) -> TeamView:
        record = TeamRecord(name=team, granted=house.teams.get(team, TeamSpec()))
        return TeamView(team=record, has=TeamHolding(queued=3, jobs=2, workers=4, cpus=2.0))

    @router.put("/v1/teams/{team}")
    def grant(team: str, granted: TeamSpec) -> TeamRecord:
        house.teams[team] = granted
        return TeamRecord(name=team, granted=granted, updated_at=NOON)

    return router
