"""``python -m examples.policy``: a policy for the cart-pole, distilled from a teacher policy on recorded observations.

A hand-written controller balances poles, and what it saw and did is recorded. One job trains a teacher policy on the first
half of the record. A second, whose student has 58 parameters to the teacher's 4,610, learns from that teacher on the other half,
without ever seeing what the controller did there. Then all three balance poles of their own: as with any policy learned
from a record, that is the measure, not how often they agree with it.

It needs a running stack (`stillhouse up`) whose data root this process can write to.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.contracts.errors import Conflict
from distill.contracts.job import JobSpec
from distill.contracts.teachers import MemberFromJob, TeacherSpec, TeacherVersionSpec, TeacherVersionState
from examples.fetch import data_root
from services.client import StillhouseClient

Floats = NDArray[np.float64]
Policy = Callable[[Floats], NDArray[np.int64]]
"""States (N, 4): place m, speed m/s, angle rad, turning rad/s; to actions (N,): 0 pushes left, 1 right."""

MOST_STEPS = 500
GUSTS_N = 10.0
"""Standard deviation of the gusts: as strong as the pushes themselves, so that even the controller drops some poles."""
NUM_RECORDED = 12_000


def controller(states_N4: Floats) -> NDArray[np.int64]:
    """Push towards where the pole is falling, and a little so that the cart comes back to the middle."""
    return (states_N4 @ np.array([0.2, 0.5, 10.0, 2.0]) > 0).astype(np.int64)


def step(states_N4: Floats, actions_N: NDArray[np.int64], gusts_N: Floats) -> Floats:
    """The states 0.02 s later: Euler steps of Barto, Sutton and Anderson (1983), without friction, with gusts in N."""
    _, speed, angle, turning = states_N4.T
    force = np.where(actions_N == 1, 10.0, -10.0) + gusts_N
    gravity, pole_kg, total_kg, half_m = 9.8, 0.1, 1.1, 0.5
    pushed = (force + pole_kg * half_m * turning**2 * np.sin(angle)) / total_kg
    turning_more = (gravity * np.sin(angle) - np.cos(angle) * pushed) / (
        half_m * (4 / 3 - pole_kg * np.cos(angle) ** 2 / total_kg)
    )
    faster = pushed - pole_kg * half_m * turning_more * np.cos(angle) / total_kg
    return states_N4 + 0.02 * np.stack([speed, faster, turning, turning_more], axis=1)


def is_up(states_N4: Floats) -> NDArray[np.bool_]:
    """Whether the cart is within 2.4 m of the middle and the pole within 12 degrees of upright."""
    return (np.abs(states_N4[:, 0]) < 2.4) & (np.abs(states_N4[:, 2]) < np.deg2rad(12))


def play(policy: Policy, *, num_carts: int, seed: int) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Balance poles from random starts, in gusts, for at most 500 steps.

    Returns:
        States met (S, 4), the actions taken there (S,), and each cart's return (N,): the steps that its pole stood.
    """
    random = np.random.default_rng(seed)
    states_N4 = random.uniform(-1, 1, (num_carts, 4)) * np.array([1.5, 0.5, 0.1, 0.5])
    up_N, returns_N = np.ones(num_carts, dtype=bool), np.zeros(num_carts, dtype=np.int64)
    met, taken = [], []
    for _ in range(MOST_STEPS):
        actions_N = policy(states_N4)
        met.append(states_N4[up_N])
        taken.append(actions_N[up_N])
        states_N4 = step(states_N4, actions_N, random.normal(0, GUSTS_N, num_carts))
        up_N &= is_up(states_N4)
        returns_N += up_N
    return np.concatenate(met), np.concatenate(taken), returns_N


def record(file: Path) -> None:
    """Write what the controller saw and did, in random order, as the arrays of a data set."""
    states, actions, _ = play(controller, num_carts=100, seed=0)
    chosen = np.random.default_rng(1).permutation(len(states))[:NUM_RECORDED]
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, inputs=states[chosen].astype(np.float32), labels=actions[chosen])


def job(name: str, *, hidden: tuple[int, ...], **fields: Any) -> JobSpec:
    """A job on the record."""
    given = {
        "name": name,
        "student": {"source": "zoo", "name": "mlp", "args": {"hidden": hidden}},
        "training": {"epochs": 30, "batch_size": 64, "optimizer": {"kind": "adamw", "lr": 0.003}},
    }
    return JobSpec.model_validate(given | fields)


def dataset(start: int, stop: int, labels: str) -> dict[str, Any]:
    """Rows of the record."""
    source = {"source": "npz", "train": "policy/record.npz", "classes": ("left", "right")}
    return source | {"rows": {"start": start, "stop": stop}, "labels": {"kind": labels}}


def run(client: StillhouseClient, spec: JobSpec) -> str:
    """Submit a job and wait for its end.

    Raises:
        RuntimeError: it did not succeed.
    """
    identity = client.submit_job(spec).id
    print(f"{identity} ...", flush=True)
    while not (seen := client.job(identity)).state.is_final:
        time.sleep(0.5)
    if seen.state != "SUCCEEDED":
        raise RuntimeError(f"{identity} is {seen.state}: see `stillhouse status {identity}`")
    return identity


def publish(client: StillhouseClient, name: str, member: str) -> str:
    """Make a finished job's student a teacher; its reference.

    Raises:
        RuntimeError: the check rejected it.
    """
    with suppress(Conflict):  # the name is there from an earlier run
        client.create_teacher(TeacherSpec(name=name, description="balances poles"))
    version = client.publish(name, TeacherVersionSpec(members=(MemberFromJob(job=member),))).version
    while (seen := client.teacher_version(name, version)).state is TeacherVersionState.CHECKING:
        time.sleep(0.5)
    if seen.state is not TeacherVersionState.READY:
        raise RuntimeError(f"{name}@{version} was rejected: {seen.problem}")
    return f"{name}@{version}"


def policy_of(client: StillhouseClient, identity: str) -> Policy:
    """The policy that a finished job's exported program plays: its likelier action."""
    import torch

    (artifact,) = (one for one in client.artifacts(identity) if one.name == "student.pt2")
    with tempfile.TemporaryDirectory() as folder:
        program = torch.export.load(client.download(identity, artifact, Path(folder))).module()

    def policy(states_N4: Floats) -> NDArray[np.int64]:
        with torch.no_grad():
            chosen: NDArray[np.int64] = program(torch.from_numpy(states_N4).float()).argmax(dim=1).numpy()
        return chosen

    return policy


def main() -> None:
    """Record, train the teacher, distil the student, and play."""
    record(data_root() / "policy" / "record.npz")
    half = NUM_RECORDED * 9 // 10 // 2  # a tenth is test data
    with StillhouseClient() as client:
        teacher = run(client, job("policy-teacher", hidden=(64, 64), dataset=dataset(0, half, "all")))
        reference = publish(client, "cart-pole", teacher)
        taught = {"teachers": [{"name": reference}], "objective": [{"kind": "soft_targets", "temperature": 2.0}]}
        unlabelled = dataset(half, 2 * half, "none")
        student = run(client, job("policy-student", hidden=(8,), dataset=unlabelled, **taught))
        players = {
            "controller": controller,
            "teacher": policy_of(client, teacher),
            "student": policy_of(client, student),
        }
    for name, policy in players.items():
        *_, returns_N = play(policy, num_carts=200, seed=7)
        print(
            f"{name:<12} return {returns_N.mean():6.1f} of {MOST_STEPS}, to the end {(returns_N == MOST_STEPS).mean():.0%}"
        )


if __name__ == "__main__":
    main()
