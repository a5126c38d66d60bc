"""Where the control plane's background work meets trouble: it is logged, and holds up nothing else."""

import logging
from collections.abc import Awaitable, Callable
from typing import ParamSpec

from redis.exceptions import RedisError

from distill.contracts.errors import DependencyDown
from services.control_plane.lease import LeaseLost

log = logging.getLogger(__name__)

P = ParamSpec("P")


async def guarded(what: str, do: Callable[P, Awaitable[object]], *args: P.args, **kwargs: P.kwargs) -> bool:
    """Do it, and return whether it went well; what goes wrong is logged, a bug of ours with its traceback.

    For loops that must outlive any one thing that they care for, and come back to it. It takes the function and
    not its coroutine: a task that is cancelled before it begins would leave a coroutine that nobody awaits.
    """
    try:
        await do(*args, **kwargs)
    except (RedisError, DependencyDown, LeaseLost, OSError) as error:
        log.warning("%s was cut short: %s", what, error)
        return False
    except Exception:  # whatever it is, the other jobs and teachers still need care
        log.exception("%s failed", what)
        return False
    return True
