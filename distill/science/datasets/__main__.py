"""``python -m distill.science.datasets fashion-mnist``: fetch a public data set once, and say where it is."""

import argparse
import sys
from pathlib import Path

from distill.contracts.errors import InvalidData
from distill.contracts.settings import NodeSettings
from distill.science.datasets.fashion_mnist import locate


def main() -> int:
    """Print the folder and return 0, or print the reasons why there is none and return 1."""
    parser = argparse.ArgumentParser(prog="python -m distill.science.datasets", description=main.__doc__)
    parser.add_argument("dataset", choices=["fashion-mnist"])
    parser.add_argument("--cache", type=Path, help="where to fetch it to; left out: as the node's environment says")
    parser.add_argument("--folder", type=Path, help="a folder that holds it already")
    wanted = parser.parse_args()
    named, cache = wanted.folder, wanted.cache
    if cache is None:
        settings = NodeSettings.from_environment()
        named, cache = named or settings.fashion_mnist, settings.cache
    try:
        folder = locate(named, cache)
    except InvalidData as error:
        print(error, file=sys.stderr)
        return 1
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
