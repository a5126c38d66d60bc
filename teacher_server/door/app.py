"""The Serve application of the pool's HTTP door; a Serve configuration names it ``teacher_server.door.app:build``.

Its route prefix is `names.DOOR_PREFIX`.
"""

from pydantic import Field
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from distill.contracts.base import Spec
from distill.contracts.names import DOOR_DEPLOYMENT
from distill.contracts.settings import NodeSettings
from distill.journal.client import open_to_look_up
from distill.journal.keys import KnownKeys
from teacher_server.door.desk import Desk
from teacher_server.door.reading import Reading
from teacher_server.door.reservations import Reservations
from teacher_server.door.teachers import ServedTeachers


class DoorArgs(Spec):
    """What may be said of a door; changing it restarts the application."""

    max_held_bytes: int = Field(default=512 * 2**20, ge=0)
    """Of windows that wait for their answer: further ones are refused, and asked again."""


class Door:
    """One replica of the door: thin, around its desk."""

    def __init__(self, args: DoorArgs) -> None:
        """Open it; Redis is asked once somebody comes."""
        node = NodeSettings.from_environment()
        redis = open_to_look_up(node.door_redis_url or node.redis_url)
        reading = Reading(max_held_bytes=args.max_held_bytes)
        self._desk = Desk(KnownKeys(redis), Reservations(redis), ServedTeachers(), reading)

    async def __call__(self, request: Request) -> Response:
        """Answer one request; Serve cancels it when its client hangs up."""
        return await self._desk.handle(request)


def build(args: DoorArgs) -> serve.Application:
    """The application of the door."""
    deployment = serve.deployment(
        Door,
        name=DOOR_DEPLOYMENT,
        num_replicas=1,
        # it waits nearly all of the time
        ray_actor_options={"num_cpus": 0},
        # what is held is bounded in bytes, by the door itself, which says so in its own words
        max_ongoing_requests=1024,
        health_check_period_s=1,
        health_check_timeout_s=10,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=10,
    )
    return deployment.bind(args)
