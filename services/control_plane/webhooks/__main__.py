"""``python -m services.control_plane.webhooks TEAM``: the secret by which the team knows that a webhook is ours."""

import os
import sys
from pathlib import Path

from distill.contracts.errors import InvalidSpec
from services.control_plane.webhooks.signing import read_secret, secret_of_team


def main() -> int:
    """Print it; 2 where there is none."""
    path = os.environ.get("STILLHOUSE_WEBHOOK_SECRET_PATH")
    if len(sys.argv) != 2 or not path:
        print(
            "usage: STILLHOUSE_WEBHOOK_SECRET_PATH=FILE python -m services.control_plane.webhooks TEAM", file=sys.stderr
        )
        return 2
    try:
        print(secret_of_team(read_secret(Path(path)), sys.argv[1]))
    except InvalidSpec as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
