"""``python -m services.control_plane``: serve the API, with settings from the environment."""

import logging
import sys

import uvicorn

from distill.contracts.errors import StillhouseError
from services.control_plane.main import create_app
from services.control_plane.settings import Settings


def main() -> int:
    """Run until SIGTERM or SIGINT; 2 if the environment is wrong."""
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
    uvicorn.run(
        create_app(settings), host=settings.host, port=settings.port, log_config=None, timeout_graceful_shutdown=3
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
