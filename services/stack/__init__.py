"""The one-machine stack: Redis, a Ray head and the control plane as child processes, behind `stillhouse up`."""
