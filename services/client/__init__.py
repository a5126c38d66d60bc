"""The Python client: one class, `StillhouseClient`, whose results are the contracts' own models.

    from services.client import StillhouseClient

    with StillhouseClient() as house:
        study = house.submit_study(spec)
        for event in house.follow("study", study.study.id):
            ...

Errors are those of `distill.contracts.errors`, by the code of the problem document that came.
"""

from services.client.client import StillhouseClient
from services.client.following import End, Followed

__all__ = ["End", "Followed", "StillhouseClient"]
