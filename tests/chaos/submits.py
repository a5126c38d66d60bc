"""``python -m tests.chaos.submits --submits 10000``: many clients submit while the control plane is killed and started again.

Each submit has a key, and is sent again until it is answered. Then: nothing lost, nothing doubled.
"""

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from distill.contracts.errors import Conflict, DependencyDown, InProgress
from distill.contracts.job import JobSpec
from distill.contracts.keys import new_key, new_key_id
from services.client import StillhouseClient
from services.client.wire import NOBODY_THERE
from services.stack import redis_server
from services.stack.home import StackHome
from services.stack.processes import free_ports, tail, wait_until
from tests.faults.processes import Forked, logged, run_control_plane
from tests.services.control_plane.processes import answers, environment_of
from tests.services.control_plane.records import JOB

KEY = new_key(new_key_id())
NUM_THREADS = 8
PAUSE_S = 0.1
START_S = 60.0


@dataclass
class Outcome:
    """What became of the submits."""

    answered: dict[int, str] = field(default_factory=dict)
    """Number of a submit -> the job that it was answered."""
    stored: Counter[int] = field(default_factory=Counter)
    """Number of a submit -> how many jobs there are of it."""
    troubles: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    otherwise: int = 0
    """Submits that were answered something else when their key was sent once more."""
    seconds: float = 0.0

    @property
    def lost(self) -> int:
        """Submits that were answered, and left no job."""
        return sum(self.stored[number] == 0 for number in self.answered)

    @property
    def doubled(self) -> int:
        """Submits that left several jobs."""
        return sum(count > 1 for count in self.stored.values())


def submit_all(
    redis_url: str,
    folder: Path,
    *,
    num_submits: int,
    seed: int,
    longest_life_s: float = 0.6,
    after_kill: Callable[[], None] = lambda: None,
) -> Outcome:
    """Submit so many jobs from eight threads; the control plane is killed at random moments of its lives.

    ``after_kill`` is called while there is none.
    """
    chance, port = random.Random(seed), free_ports(1)[0]
    house, outcome = _House(f"http://127.0.0.1:{port}", seed), Outcome()
    began, longest_s = time.monotonic(), longest_life_s
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        child = _started(redis_url, folder, port)
        waiting: set[Future[None]] = {
            threads.submit(house.submit, range(first, num_submits, NUM_THREADS), outcome)
            for first in range(NUM_THREADS)
        }
        try:
            while waiting:
                before = len(outcome.answered)
                done, waiting = wait(waiting, timeout=chance.uniform(0.02, longest_s))
                for ended in done:
                    ended.result()
                # on a busy machine nobody is answered in a short life
                longest_s = longest_life_s if len(outcome.answered) > before else 2 * longest_s
                if len(outcome.answered) < 0.9 * num_submits:
                    _kill(child)
                    outcome.kills += 1
                    after_kill()
                    child = _started(redis_url, folder, port)
            outcome.seconds = time.monotonic() - began
            again = (threads.submit(house.ask_again, first, outcome) for first in range(NUM_THREADS))
            outcome.otherwise = sum(some.result() for some in list(again))
            house.count(outcome)
        finally:
            house.gives_up.set()
            _kill(child)
    return outcome


def _started(redis_url: str, folder: Path, port: int) -> Forked:
    """A control plane, forked from one that has imported everything; returns once it answers."""
    environment = environment_of(redis_url, folder, port=port, key=KEY)
    child = Forked(logged, folder / "control-plane.log", run_control_plane, environment)
    if not wait_until(lambda: answers(port), timeout_s=START_S, every_s=0.02):
        _kill(child)
        raise DependencyDown(f"the control plane didn't answer:\n{tail(folder / 'control-plane.log')}")
    return child


def _kill(child: Forked) -> None:
    child.send_signal(signal.SIGKILL)
    child.wait(10)


class _House:
    """The control plane as its clients see it."""

    def __init__(self, url: str, seed: int) -> None:
        self._url = url
        self._seed = seed
        self.gives_up = threading.Event()

    def submit(self, numbers: range, outcome: Outcome) -> None:
        """Submit each of these until it is answered."""
        with StillhouseClient(self._url, key=KEY, patience_s=0) as client:
            waiting = deque(numbers)
            while waiting and not self.gives_up.is_set():
                try:
                    outcome.answered[waiting[0]] = self._submit(client, waiting[0])
                    waiting.popleft()
                except (DependencyDown, Conflict) as error:
                    outcome.troubles[_trouble(error)] += 1
                    waiting.rotate(-1)  # a dead control plane's marker takes its time to expire
                    time.sleep(PAUSE_S)

    def ask_again(self, first: int, outcome: Outcome) -> int:
        """Send each eighth key once more; how many are answered otherwise than before."""
        with StillhouseClient(self._url, key=KEY) as client:
            numbers = range(first, len(outcome.answered), NUM_THREADS)
            return sum(self._submit(client, number) != outcome.answered[number] for number in numbers)

    def count(self, outcome: Outcome) -> None:
        """Look at what is stored."""
        with StillhouseClient(self._url, key=KEY) as client:
            outcome.stored = Counter(int(job.spec.labels["number"]) for job in client.jobs())

    def _submit(self, client: StillhouseClient, number: int) -> str:
        spec = JobSpec.model_validate(JOB | {"labels": {"number": str(number)}})
        return client.submit_job(spec, key=f"{self._seed}-{number}").id


def _trouble(error: Exception) -> str:
    if isinstance(error, InProgress):
        return "still being answered"
    if isinstance(error, Conflict):  # two drew the same identity: the server says that nothing was stored
        return "identity taken"
    return "nobody there" if isinstance(error.__cause__, NOBODY_THERE) else "cut in the middle"


def main(say: Callable[[str], None] = print) -> int:
    """Returns 0 if nothing was lost and nothing doubled."""
    parser = argparse.ArgumentParser(description="Kill the control plane while many submit.")
    parser.add_argument("--submits", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest-life", type=float, default=8.0, metavar="S", help="between two kills")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="submits-") as folder:
        home = StackHome(Path(folder) / "redis")
        home.make()
        redis, state = redis_server.start_redis(home, environment={}, last=None)
        try:
            outcome = submit_all(
                state.url, Path(folder), num_submits=asked.submits, seed=asked.seed, longest_life_s=asked.longest_life
            )
        finally:
            redis.stop(10.0)
    troubles = ", ".join(f"{what} {count:,}" for what, count in sorted(outcome.troubles.items()))
    say(f"submits: {len(outcome.answered):,} answered of {asked.submits:,} in {outcome.seconds:.0f} s")
    say(f"the control plane was killed {outcome.kills} times; tries that failed: {troubles}")
    say(f"lost {outcome.lost}, doubled {outcome.doubled}, answered otherwise when asked again {outcome.otherwise}")
    return int(bool(outcome.lost or outcome.doubled or outcome.otherwise or not outcome.kills))


if __name__ == "__main__":
    sys.exit(main())
