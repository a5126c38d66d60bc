"""What a stop, a wish or an error makes of an attempt: the one place where failures get their codes.

An error of ours that a rank or the check raised is kept as it is. Ray's and torch's are mapped here; what is neither
is an ``internal_error``, and its traceback is in the attempt's log.
"""

import errno

import torch
from ray.exceptions import GetTimeoutError, RayActorError, RayError
from ray.train import ControllerError, TrainingFailedError, WorkerGroupError

from distill.contracts.errors import (
    AttemptSuperseded,
    DependencyDown,
    Interrupted,
    NoRoom,
    OutOfMemory,
    Preempted,
    StillhouseError,
    TrainingDiverged,
    WallTimeOver,
    WorkerLost,
)
from distill.contracts.job import LimitsSpec
from distill.contracts.records import Outcome, Wish
from student_worker.ending import SUPERSEDED, Ending
from student_worker.ranks import Stop

_OUTCOMES = {
    Stop.WAITED: Outcome.WAITED,
    Stop.PAUSE: Outcome.PAUSED,
    Stop.CANCEL: Outcome.CANCELLED,
    Stop.SUPERSEDED: None,
}


def failed(error: StillhouseError) -> Ending:
    """It failed, and this is why."""
    return Ending(outcome=Outcome.FAILED, problem=error.problem())


def out_of_wall_time(wall_s: float) -> Ending:
    """``limits.wall_s`` is over."""
    message = f"the attempt has run for limits.wall_s, {wall_s:g} s; its last checkpoint is kept"
    hint = "give limits.wall_s more seconds, or leave it out"
    return failed(WallTimeOver(message, field="limits.wall_s", hint=hint))


def ending_of_stop(stop: Stop, limits: LimitsSpec) -> Ending:
    """What a stop that all ranks agreed on means for the attempt."""
    if stop is Stop.WALL_TIME:
        return out_of_wall_time(limits.wall_s or 0.0)
    if stop is Stop.DIVERGED:
        hint = "a smaller learning rate, more warm-up steps or a gradient_clip may keep it finite"
        return failed(TrainingDiverged("the loss is not a finite number any more", field="training", hint=hint))
    return Ending(outcome=_OUTCOMES[stop])


def as_wished(wish: Wish) -> Ending:
    """The end that was asked for, where there was nothing to save; an end that nobody asked for is a failure."""
    if wish is Wish.CANCEL:
        return Ending(outcome=Outcome.CANCELLED)
    if wish is Wish.PAUSE:
        return Ending(outcome=Outcome.PAUSED)
    return failed(Interrupted("the attempt was interrupted from outside, by SIGINT"))


def ending_of(error: BaseException) -> Ending:
    """What an error means for the attempt."""
    if isinstance(error, AttemptSuperseded):
        return SUPERSEDED
    if isinstance(error, StillhouseError):
        return failed(error)
    if isinstance(error, WorkerGroupError):
        return ending_of(_cause(error.worker_failures))
    if isinstance(error, ControllerError):
        return ending_of(error.controller_failure)
    return failed(_mapped(error))


def _cause(failures: dict[int, Exception]) -> Exception:
    """The failure that caused the others: our own word first, then memory, then what is no echo of another rank."""
    in_order = [failures[rank] for rank in sorted(failures)]
    return min(in_order, key=_distance)


def _distance(error: Exception) -> int:
    if isinstance(error, StillhouseError):
        return 0
    if isinstance(error, torch.OutOfMemoryError):
        return 1
    return 3 if _is_echo(error) else 2


def _mapped(error: BaseException) -> StillhouseError:
    if isinstance(error, torch.OutOfMemoryError):
        hint = "a smaller training.batch_size, or more workers, needs less memory on each"
        return OutOfMemory(f"a worker ran out of memory: {_short(error)}", hint=hint)
    if type(error).__name__ == "InsufficientClusterResourcesError":
        return NoRoom("the cluster can never hold this job's workers", field="compute", got=_short(error))
    if getattr(getattr(error, "health_check_failure", error), "preempted", False):
        return Preempted(f"the node of a worker was taken away: {_short(error)}")
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DependencyDown(f"the storage takes no more: {_short(error)}; make room, and it is tried again")
    if _is_death(error) or _is_echo(error):
        return WorkerLost(f"a worker of the attempt was lost: {_short(error)}")
    return StillhouseError(
        f"the attempt failed with {type(error).__name__}: {_short(error)}; its log holds the traceback"
    )


def _is_death(error: BaseException) -> bool:
    lost = isinstance(error, RayError) and not isinstance(error, GetTimeoutError)
    return lost or isinstance(error, RayActorError | TrainingFailedError) or "HealthCheck" in type(error).__name__


def _is_echo(error: BaseException) -> bool:
    """What the other ranks say when one dies: their collective operation broke."""
    if isinstance(error, torch.distributed.DistError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("gloo" in text or "nccl" in text or "connection closed by peer" in text)


def _short(error: BaseException) -> str:
    """Its first line; the attempt's log has the rest."""
    cause = getattr(error, "health_check_failure", error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
