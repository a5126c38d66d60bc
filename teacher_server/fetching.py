"""The reply to a request to Serve, looked for again and again without losing what has come of it."""

import time
from typing import Any

import ray
from ray.exceptions import GetTimeoutError


def fetch(response: Any, timeout_s: float) -> Any:
    """The reply.

    Raises:
        TimeoutError: no replica has taken the request.
        GetTimeoutError: the reply isn't here yet.
    """
    began = time.monotonic()
    ref = response._to_object_ref_sync(_timeout_s=timeout_s)
    left_s = max(0.0, timeout_s - (time.monotonic() - began))
    # not `result(timeout_s=...)`: a get that times out throws away what came from the other node so far, and a reply
    # that takes longer than one poll would never be here; a wait lets it come on, also between polls
    ready, _ = ray.wait([ref], timeout=left_s)
    if not ready:
        raise GetTimeoutError
    return ray.get(ref)
