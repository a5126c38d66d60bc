"""Every error that a person may meet, each with a stable code.

    StillhouseError
    ├── InvalidSpec           what was asked can't be, and the field is known
    │   ├── UnknownTeacher    the job names a teacher that isn't there, or isn't READY
    │   ├── KeyReused         the Idempotency-Key came before, with another request
    │   ├── TooLarge          the request is larger than the server takes
    │   └── NoRoom            the cluster can never hold what was asked
    ├── NotAuthenticated      no API key came with the request, or one that doesn't hold
    ├── Forbidden             the API key doesn't allow it
    ├── NotFound              no such thing
    ├── TooManyRequests       the team asks faster than it may
    ├── Conflict              the thing is in a state that doesn't allow it
    │   ├── OverQuota         the team's quota allows no more for now
    │   └── InProgress        the request with this Idempotency-Key is still being answered
    ├── TooManyStreams        so much is followed already that no more may be for now
    ├── InvalidData           a data set can't be read, or isn't what the job file says
    ├── InvalidWeights        a weights file is torn, not safetensors, or doesn't fit the model
    ├── TeacherUnavailable    no replica of the teacher answers
    │   └── TeacherBusy       a replica refuses, for now: its queue is full
    ├── InvalidAnswer         a teacher's answer is not what was asked for
    │   └── NotFinite         a teacher's answer holds NaN or infinity
    ├── TrainingDiverged      the loss is NaN or infinite
    ├── WallTimeOver          the attempt has run for as long as it may
    ├── AttemptSuperseded     a newer attempt has taken over, or the job is gone
    ├── AttemptLost           the attempt is gone from the cluster and left no last word
    ├── Interrupted           the attempt was stopped from outside, and nobody had asked us to
    │   └── Preempted         the attempt's node was taken away, as spot machines are
    ├── WorkerLost            a worker of the attempt, or its node, died
    ├── OutOfMemory           a worker could not get memory
    ├── GenerationLost        the generation before left no student that could teach this one
    └── DependencyDown        Redis, Ray or the storage doesn't answer

Every one pickles, prints as its message alone, and carries the fields that a problem document shows.
"""

from typing import Any, ClassVar

from distill.contracts.base import Stored


class Problem(Stored):
    """An error as data: what travels in records, events and RFC 9457 documents."""

    code: str
    """Stable, for programs: such as ``invalid_weights``."""
    message: str
    """For the person who must act: what was expected, what came, what to do."""
    field: str | None = None
    """The dotted path in the job file, such as ``dataset.path``."""
    expected: str | None = None
    got: str | None = None
    hint: str | None = None


class StillhouseError(Exception):
    """The root: by itself a bug of ours. ``details`` are the optional fields of `Problem`."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    is_users: ClassVar[bool] = False
    """True where trying again without a change can't help."""
    retry_after_s: float | None = None
    """When the same request may be sent again, where that is known: the ``Retry-After`` of an answer."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.details)

    def problem(self) -> Problem:
        """This error as data."""
        return Problem(code=self.code, message=self.message, **self.details)


def errors_by_code() -> dict[str, type[StillhouseError]]:
    """Code -> class, of the whole tree; who is raised in a task of Ray's has a subclass of its own, which isn't in it."""
    found: dict[str, type[StillhouseError]] = {}
    waiting = [StillhouseError]
    while waiting:
        kind = waiting.pop()
        if "code" in vars(kind):
            found[kind.code] = kind
        waiting.extend(kind.__subclasses__())
    return found


def _rebuild(kind: type[StillhouseError], message: str, details: dict[str, Any]) -> StillhouseError:
    return kind(message, **details)


class InvalidSpec(StillhouseError):
    """What was asked can't be, and the field is known."""

    code = "invalid_spec"
    status = 422
    is_users = True


class UnknownTeacher(InvalidSpec):
    """The job names a teacher that isn't there, or isn't READY."""

    code = "unknown_teacher"


class KeyReused(InvalidSpec):
    """The Idempotency-Key came before, with another request."""

    code = "key_reused"


class TooLarge(InvalidSpec):
    """The request is larger than the server takes."""

    code = "too_large"
    status = 413


class NoRoom(InvalidSpec):
    """The cluster can never hold what was asked."""

    code = "no_room"


class NotAuthenticated(StillhouseError):
    """No API key came with the request, or one that doesn't hold."""

    code = "not_authenticated"
    status = 401
    is_users = True


class Forbidden(StillhouseError):
    """The API key doesn't allow it."""

    code = "forbidden"
    status = 403
    is_users = True


class NotFound(StillhouseError):
    """No such thing."""

    code = "not_found"
    status = 404
    is_users = True


class TooManyRequests(StillhouseError):
    """The team asks faster than it may. ``retry_after_s`` says when to come again."""

    code = "too_many_requests"
    status = 429


class Conflict(StillhouseError):
    """The thing is in a state that doesn't allow it."""

    code = "conflict"
    status = 409
    is_users = True


class OverQuota(Conflict):
    """The team's quota allows no more for now."""

    code = "over_quota"


class InProgress(Conflict):
    """The request with this Idempotency-Key is still being answered. Asked again, it gets that answer."""

    code = "in_progress"
    is_users = False
    retry_after_s = 1.0


class TooManyStreams(StillhouseError):
    """So much is followed already that no more may be for now."""

    code = "too_many_streams"
    status = 429


class InvalidData(StillhouseError):
    """A data set can't be read, or isn't what the job file says."""

    code = "invalid_data"
    status = 422
    is_users = True


class InvalidWeights(StillhouseError):
    """A weights file is torn, not safetensors, or doesn't fit the model."""

    code = "invalid_weights"
    status = 422
    is_users = True


class TeacherUnavailable(StillhouseError):
    """No replica of the teacher answers."""

    code = "teacher_unavailable"
    status = 503


class TeacherBusy(TeacherUnavailable):
    """A replica refuses, for now: its queue is full."""

    code = "teacher_busy"


class InvalidAnswer(StillhouseError):
    """A teacher's answer is not what was asked for."""

    code = "invalid_answer"


class NotFinite(InvalidAnswer):
    """A teacher's answer holds NaN or infinity. The same rows would get the same answer again."""

    code = "answer_not_finite"
    is_users = True


class TrainingDiverged(StillhouseError):
    """The loss is NaN or infinite."""

    code = "training_diverged"
    is_users = True


class WallTimeOver(StillhouseError):
    """The attempt has run for as long as it may."""

    code = "wall_time"
    is_users = True


class AttemptSuperseded(StillhouseError):
    """A newer attempt has taken over, or the job is gone."""

    code = "attempt_superseded"


class AttemptLost(StillhouseError):
    """The attempt is gone from the cluster and left no last word."""

    code = "attempt_lost"


class Interrupted(StillhouseError):
    """The attempt was stopped from outside, and nobody had asked us to."""

    code = "interrupted"


class Preempted(Interrupted):
    """The attempt's node was taken away, as spot machines are."""

    code = "preempted"


class WorkerLost(StillhouseError):
    """A worker of the attempt, or its node, died."""

    code = "worker_lost"


class OutOfMemory(StillhouseError):
    """A worker could not get memory."""

    code = "out_of_memory"


class GenerationLost(StillhouseError):
    """The generation before left no student that could teach this one."""

    code = "generation_lost"
    is_users = True


class DependencyDown(StillhouseError):
    """Redis, Ray or the storage doesn't answer."""

    code = "dependency_down"
    status = 503
