"""Ray's word and the heartbeat, put together: the whole table."""

import pytest

from services.control_plane.liveness import GRACE_S, Life, Silence, classify
from services.control_plane.ray_rest import Driver, RayJob, RayJobState
from services.control_plane.strays import stray
from tests.services.control_plane.records import a_queued_job, a_running_job

TABLE = [
    # Ray says, heartbeat, silent for, so it is
    (None, True, 0, Life.ALIVE),
    (None, False, 9999, Life.UNKNOWN),
    *((state, True, 0, Life.ALIVE) for state in RayJobState),
    *((state, False, 9999, Life.ALIVE) for state in (RayJobState.PENDING, RayJobState.RUNNING)),
    *((state, False, 0, Life.DEAD) for state in (RayJobState.STOPPED, RayJobState.SUCCEEDED)),
    *((state, False, GRACE_S - 1, Life.UNKNOWN) for state in (RayJobState.FAILED, RayJobState.ABSENT)),
    *((state, False, GRACE_S, Life.DEAD) for state in (RayJobState.FAILED, RayJobState.ABSENT)),
]


@pytest.mark.parametrize(("state", "has_heartbeat", "silent_s", "life"), TABLE)
def test_an_attempt_is_alive_dead_or_unknown(
    state: RayJobState | None, has_heartbeat: bool, silent_s: float, life: Life
):
    ray = None if state is None else RayJob(state)
    assert classify(ray, has_heartbeat=has_heartbeat, silent_s=silent_s) is life


def test_silence_counts_from_the_first_look_and_anew_after_this_process_was_deaf(monkeypatch: pytest.MonkeyPatch):
    clock = [100.0]
    monkeypatch.setattr("services.control_plane.liveness.time.monotonic", lambda: clock[0])
    silence = Silence()
    assert silence.of("a-1", has_heartbeat=False) == 0
    clock[0] = 130.0
    assert silence.of("a-1", has_heartbeat=False) == 30
    silence.forget()
    assert silence.of("a-1", has_heartbeat=False) == 0
    clock[0] = 140.0
    assert silence.of("a-1", has_heartbeat=True) == 0


def test_a_driver_is_stray_once_its_attempt_no_longer_counts_and_never_if_it_is_not_ours():
    running, queued = a_running_job(), a_queued_job("queued-abc234")
    drivers = [
        Driver("digits-abc234-1", "digits-abc234", 1),
        Driver("digits-abc234-0", "digits-abc234", 0),
        Driver("queued-abc234-1", "queued-abc234", 1),
        Driver("other-house-1", "other-house", 1),
    ]
    assert stray(drivers, [running, queued]) == ["digits-abc234-0", "queued-abc234-1"]
    assert stray(drivers, [running, queued], [drivers[-1].job])[-1] == drivers[-1].submission
