"""``python -m services.control_plane``: serve the API, with settings from the environment."""

import contextlib
import logging
import sys

from distill.contracts.errors import StillhouseError
from services.control_plane.main import create_app
from services.control_plane.serving import server_of
from services.control_plane.settings import Settings


def main() -> int:
    """Run until SIGTERM or SIGINT; 2 if the environment is wrong, 3 if it can't start."""
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
        print(error, file=sys.stderr)
        return 2
    server = server_of(create_app(settings), settings)
    with contextlib.suppress(KeyboardInterrupt):  # it has ended in order, and raises what it was told
        server.run()
    return 0 if server.started else 3


if __name__ == "__main__":
    sys.exit(main())
