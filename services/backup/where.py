"""Which Redis and which storage: those that the environment names, else the stack's of this machine."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.stack import redis_server
from services.stack.home import StackHome
from services.stack.settings import StackSettings


@contextmanager
def redis_and_storage(environment: Mapping[str, str] = os.environ) -> Iterator[tuple[str, Path]]:
    """The URL of Redis and the storage root; a stack's own Redis that isn't running runs meanwhile.

    Raises:
        DependencyDown: there is no Redis to be had.
        Conflict: a stack is just starting or stopping on the state folder.
    """
    if "STILLHOUSE_REDIS_URL" in environment and "STILLHOUSE_STORAGE" in environment:
        yield environment["STILLHOUSE_REDIS_URL"], Path(environment["STILLHOUSE_STORAGE"])
        return
    settings = StackSettings.from_environment(environment)
    home = StackHome(settings.home)
    if settings.redis_url is not None:
        yield redis_server.given_redis(settings.redis_url).url, home.storage
        return
    state = home.read()
    if state and state.redis and redis_server.answers(state.redis.url):
        yield state.redis.url, home.storage
        return
    home.make()
    with home.lock():
        child, redis = redis_server.start_redis(home, environment=environment, last=state.redis if state else None)
        try:
            yield redis.url, home.storage
        finally:
            child.stop(10.0)
