"""Who has how much, and who has had how much: what decides which team comes next.

Two published ideas together. A team's **share** is of what it holds most, measured by what the cluster has of it
(dominant resource fairness: Ghodsi et al., NSDI 2011). Its **account** is start-time fair queueing (Goyal, Vin, Cheng,
1997, doi:10.1109/90.649569) over time: it rises by share / weight for as long as jobs hold something, since nobody knows
before how long they will. Accounts count from the waiting team that has had least; a team that comes back from having
nothing to wait for begins there, wherever it was left: absence saves nothing up, and what nobody else wanted costs
nothing later.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from datetime import datetime

from distill.contracts.teams import TeamAccounts
from services.control_plane.ray_rest import ClusterResources
from services.control_plane.scheduling.jobs import Job


def dominant_share(held: ClusterResources, total: ClusterResources) -> float:
    """Of what is held most; 0 to 1, and more where nodes have left the cluster."""
    cpus = held.cpus / total.cpus if total.cpus else 0.0
    gpus = held.gpus / total.gpus if total.gpus else 0.0
    return max(cpus, gpus)


def held_by_teams(running: Iterable[Job], there: Mapping[str, ClusterResources]) -> dict[str, ClusterResources]:
    """Team -> its workers, and its part of the replicas that it asks: teams that share a teacher share what it takes."""
    held: dict[str, ClusterResources] = defaultdict(ClusterResources)
    users: dict[str, set[str]] = defaultdict(set)
    for job in running:
        held[job.team] += job.takes
        for application in job.teachers:
            users[application].add(job.team)
    for application, teams in users.items():
        whole = there.get(application, ClusterResources())
        part = ClusterResources(cpus=whole.cpus / len(teams), gpus=whole.gpus / len(teams))
        for team in teams:
            held[team] += part
    return dict(held)


def settle(accounts: TeamAccounts | None, contending: Set[str], now: datetime) -> TeamAccounts | None:
    """The accounts at ``now``, without a pace; None where nobody contends, and all begin anew.

    Args:
        accounts: as they were left last.
        contending: the teams that have a job which waits for room and turn alone.
        now: the present moment.
    """
    if not contending:
        return None
    before = accounts or TeamAccounts(at=now)
    elapsed_s = max(0.0, (now - before.at).total_seconds())
    known = before.ahead_s.keys() | before.pace.keys()
    had = {team: before.ahead_s.get(team, 0.0) + elapsed_s * before.pace.get(team, 0.0) for team in known}
    least = min((had[team] for team in contending & before.ahead_s.keys()), default=0.0)
    ahead = {team: max(0.0, had.get(team, 0.0) - least) for team in known | contending}
    # who is not ahead and does not contend is as if it had never come
    return TeamAccounts(at=now, ahead_s={team: s for team, s in sorted(ahead.items()) if s > 0 or team in contending})
