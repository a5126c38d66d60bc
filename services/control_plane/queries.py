"""A query that nobody reads is refused: a misspelt filter would list everything, and a misspelt ``dry_run`` would act."""

from fastapi import Request
from fastapi.dependencies.models import Dependant

from distill.contracts.errors import InvalidSpec
from services.control_plane.audit.requests import shortened


async def known_queries(request: Request) -> None:
    """See that the route reads all that the query names.

    Raises:
        InvalidSpec: it doesn't.
    """
    known = _names(request.scope["route"].dependant)
    for name in request.query_params:
        if name not in known:
            told = shortened(name)
            raise InvalidSpec(
                f"this route has no parameter '{told}'", field=told, expected=", ".join(sorted(known)), got=told
            )


def _names(dependant: Dependant) -> set[str]:
    own = {parameter.alias for parameter in dependant.query_params}
    return own.union(*map(_names, dependant.dependencies))
