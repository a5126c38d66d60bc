"""What a script can tell from how a command ended."""

from distill.contracts.errors import (
    Conflict,
    DependencyDown,
    Forbidden,
    InvalidData,
    InvalidSpec,
    InvalidWeights,
    NotAuthenticated,
    NotFound,
    StillhouseError,
)

OK = 0
JOB_FAILED = 1
INVALID = 2
NOT_FOUND = 3
CONFLICT = 4
UNREACHABLE = 5
OTHER = 6
NOT_ALLOWED = 7
INTERRUPTED = 130

TABLE = (
    "Exit codes: 0 it worked | 1 the job failed or was cancelled | 2 wrong usage, or a file that can't be right | "
    "3 no such thing | 4 not possible in its present state | 5 the server doesn't answer | 6 another error | "
    "7 no API key, or one that doesn't allow it | "
    "130 interrupted"
)


def exit_code(error: StillhouseError) -> int:
    """The exit code that stands for an error."""
    if isinstance(error, InvalidSpec | InvalidData | InvalidWeights):
        return INVALID
    if isinstance(error, NotFound):
        return NOT_FOUND
    if isinstance(error, Conflict):
        return CONFLICT
    if isinstance(error, NotAuthenticated | Forbidden):
        return NOT_ALLOWED
    return UNREACHABLE if isinstance(error, DependencyDown) else OTHER
