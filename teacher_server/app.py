"""The Serve application of one teacher version; a Serve configuration names it ``teacher_server.app:build``."""

from ray import serve
from ray.serve.config import RequestRouterConfig

from distill.contracts.names import DEPLOYMENT
from teacher_server.replica import TeacherArgs, TeacherReplica
from teacher_server.routing import ROUTER


def build(args: TeacherArgs) -> serve.Application:
    """The application of the version that ``args`` names.

    How many replicas there are and what each takes are no arguments: a Serve configuration sets them in its
    ``deployments``, so that a change of them keeps the running processes.
    """
    deployment = serve.deployment(
        TeacherReplica,
        name=DEPLOYMENT,
        num_replicas=1,
        ray_actor_options={"num_cpus": 0.5},
        # far above what is batched: the queue must form in the replica, not unseen in the callers' routers
        max_ongoing_requests=1024,
        request_router_config=RequestRouterConfig(request_router_class=ROUTER),
        # a dead replica is replaced within about two seconds; a hung one after three silent checks
        health_check_period_s=1,
        health_check_timeout_s=10,
        graceful_shutdown_wait_loop_s=0.5,
        # a replica that leaves answers what it has taken, for as long as a window may wait
        graceful_shutdown_timeout_s=60,
        # weights don't become good by trying again; a full device may become free
        max_constructor_retry_count=5,
    )
    return deployment.bind(args)
