"""``python -m student_worker --job ID --attempt N``: the driver process of one attempt."""

import argparse
import logging
import sys

from distill.contracts import names
from distill.contracts.settings import NodeSettings
from student_worker.output import redirect_to


def main() -> int:
    """Send all output to the attempt's log, then run the attempt; imports that can fail come after."""
    parser = argparse.ArgumentParser(prog="python -m student_worker", description="Run one attempt at one job.")
    parser.add_argument("--job", required=True, help="the job's id")
    parser.add_argument("--attempt", required=True, type=int, help="the attempt's number")
    arguments = parser.parse_args()
    settings = NodeSettings.from_environment()
    redirect_to(settings.storage / names.attempt_folder(arguments.job, arguments.attempt) / names.LOG_FILE)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    from student_worker.driver import drive

    return drive(arguments.job, arguments.attempt, settings)


if __name__ == "__main__":
    sys.exit(main())
