"""The queue between teams as one pure function: `policy.decide(queue, ledger, now) -> decisions`.

It knows no Redis, Ray or clock, so that it can be simulated: tests/services/control_plane/simulated_queue.py.
"""
