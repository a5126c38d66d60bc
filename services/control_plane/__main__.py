"""``python -m services.control_plane``: serve the API, with settings from the environment."""

import asyncio
import contextlib
import gc
import logging
import sys

from redis.asyncio import Redis
from redis.exceptions import RedisError

from distill.contracts.errors import StillhouseError
from services.control_plane.main import create_app
from services.control_plane.serving import server_of
from services.control_plane.settings import Settings
from services.control_plane.store import Store


def main() -> int:
    """Run until SIGTERM or SIGINT; 2 if the environment is wrong or what Redis holds is not for us, 3 if it can't start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = Settings.from_environment()
    except KeyError as error:
        print(
            f"the environment lacks {error.args[0]}; docs/settings.md lists what the control plane reads",
            file=sys.stderr,
        )
        return 2
    except StillhouseError as error:
        return _refuse(error)
    try:
        asyncio.run(_check_schema(settings))
    except StillhouseError as error:
        return _refuse(error)
    server = server_of(create_app(settings), settings)
    gc.collect()
    # all that is here now stays, some 100 ms to look through: while Python does that, no request is answered
    gc.freeze()
    with contextlib.suppress(KeyboardInterrupt):  # it has ended in order, and raises what it was told
        server.run()
    return 0 if server.started else 3


async def _check_schema(settings: Settings) -> None:
    """Before the application does it too: here the answer is one line, and no traceback."""
    redis = Redis.from_url(settings.node.redis_url, decode_responses=True, socket_timeout=5, socket_connect_timeout=2)
    try:
        with contextlib.suppress(RedisError, OSError):  # the application says what is wrong with Redis
            await Store(redis).check_schema()
    finally:
        await redis.aclose()


def _refuse(error: StillhouseError) -> int:
    hint = error.details.get("hint")
    print(f"{error}{'; ' + hint if hint else ''}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
