"""What errors become: every failure has a code, and the cause is told from its echoes."""

import errno

import pytest
import torch
from ray.exceptions import ActorDiedError, RayActorError
from ray.train import ControllerError, WorkerGroupError

from distill.contracts.errors import AttemptSuperseded, InvalidAnswer, InvalidData
from distill.contracts.records import Outcome, Wish
from student_worker.outcomes import as_wished, ending_of

ECHO = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:3829")


def code_of(error: BaseException) -> str:
    ending = ending_of(error)
    assert ending.outcome is Outcome.FAILED
    assert ending.problem is not None
    return ending.problem.code


def test_our_own_error_keeps_its_code_and_field_through_ray_train():
    error = InvalidData("no such file", field="dataset.train")
    ending = ending_of(WorkerGroupError("text", {0: ECHO, 1: error}))
    assert ending.problem == error.problem()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WorkerGroupError("text", {1: ActorDiedError()}), "worker_lost"),
        (WorkerGroupError("text", {0: ECHO}), "worker_lost"),
        (WorkerGroupError("text", {0: ECHO, 1: ZeroDivisionError("oh")}), "internal_error"),
        (WorkerGroupError("text", {0: torch.OutOfMemoryError("cuda"), 1: ECHO}), "out_of_memory"),
        (ControllerError(ActorDiedError()), "worker_lost"),
        (ActorDiedError(), "worker_lost"),
        (RayActorError(preempted=True), "preempted"),
        (WorkerGroupError("text", {0: ECHO, 1: RayActorError(preempted=True)}), "preempted"),
        (OSError(errno.ENOSPC, "No space left on device"), "dependency_down"),
        (InvalidAnswer("NaN"), "invalid_answer"),
        (ZeroDivisionError("oh"), "internal_error"),
    ],
)
def test_every_failure_has_a_code(error: BaseException, code: str):
    assert code_of(error) == code


def test_a_superseded_attempt_has_no_last_word():
    assert ending_of(WorkerGroupError("text", {0: AttemptSuperseded("gone")})).outcome is None


def test_an_interruption_that_nobody_asked_for_is_a_failure():
    assert as_wished(Wish.CANCEL).outcome is Outcome.CANCELLED
    assert as_wished(Wish.PAUSE).outcome is Outcome.PAUSED
    problem = as_wished(Wish.RUN).problem
    assert problem is not None
    assert problem.code == "interrupted"
