"""Where each training is cut, and the table of what came of it."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from redis import Redis

from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import ResolvedTeacher
from tests.student_worker.bitwise.attempts import trained
from tests.student_worker.bitwise.left import differing
from tests.student_worker.bitwise.rank import Cut
from tests.student_worker.bitwise.schemes import SCHEMES, a_job

HEADER = "| scheme | workers | cut before step | equal |\n|---|---|---|---|"


@dataclass(frozen=True)
class Row:
    """One training, and the same one with cuts."""

    scheme: str
    workers: int
    num_steps: int
    cuts: tuple[Cut, ...]
    num_pieces: int
    """Tensors, figures and predictions that were compared."""
    differing: tuple[str, ...]
    """Names of those that are not the same, bit for bit."""

    def __str__(self) -> str:
        cuts = ", ".join(f"{cut.step} (killed)" if cut.how == "killed" else str(cut.step) for cut in self.cuts)
        examples = ", ".join(self.differing[:3])
        equal = "yes" if not self.differing else f"no: {len(self.differing)} of {self.num_pieces} differ ({examples})"
        return f"| {self.scheme} | {self.workers} | {cuts} of {self.num_steps} | {equal} |"


def tell(told: Iterable[Row], say: Callable[[str], None]) -> int:
    """Say the table, row by row as they come; how many rows differ."""
    say(HEADER)
    num_differing = 0
    for row in told:
        say(str(row))
        num_differing += bool(row.differing)
    return num_differing


def draw_cuts(
    chance: random.Random, *, num_steps: int, epoch_steps: int, num_cuts: int, ends_early: bool = False
) -> tuple[Cut, ...]:
    """Pauses at random steps inside epochs, a death at one, and those pauses that chance would miss.

    At an epoch's end; right after another, with a step between them and without one; and after the last step, before
    the student is measured (where validation rows end a training early, nobody knows its last step before).
    """
    inside = [step for step in range(1, num_steps) if step % epoch_steps]
    chosen = [Cut(step) for step in chance.sample(inside, num_cuts)]
    end = chance.randrange(epoch_steps, num_steps, epoch_steps)
    soon = chance.choice(inside[:-1])
    chosen += [Cut(end), Cut(soon), Cut(soon + 1), Cut(soon + 1), *([] if ends_early else [Cut(num_steps)])]
    return tuple(sorted([*chosen, Cut(chance.choice(inside), "killed")], key=lambda cut: cut.step))


def rows(
    settings: NodeSettings,
    redis: Redis,
    teachers: Mapping[str, ResolvedTeacher],
    *,
    seed: int,
    num_cuts: int,
    workers: Sequence[int],
    schemes: Iterable[str] = SCHEMES,
) -> Iterator[Row]:
    """Those of each scheme."""
    for scheme in schemes:
        for count in workers:
            yield row_of(settings, redis, teachers, scheme, workers=count, seed=seed, num_cuts=num_cuts)


def row_of(
    settings: NodeSettings,
    redis: Redis,
    teachers: Mapping[str, ResolvedTeacher],
    scheme: str,
    *,
    workers: int,
    seed: int,
    num_cuts: int,
) -> Row:
    """Train one scheme whole and cut, and compare."""
    name = f"bitwise-{list(SCHEMES).index(scheme)}-by-{workers}-of-{seed}"
    whole = trained(a_job(scheme, teachers, workers=workers, job=f"{name}-whole"), settings, redis)
    num_steps, num_epochs = int(whole["result.steps"]), int(whole["state.state.epoch"])
    cuts = draw_cuts(
        random.Random(f"{seed} {scheme} {workers}"),
        num_steps=num_steps,
        epoch_steps=num_steps // num_epochs,
        num_cuts=num_cuts,
        ends_early=whole["state.state.stopped_early"] == "true",
    )
    cut = trained(a_job(scheme, teachers, workers=workers, job=f"{name}-cut"), settings, redis, cuts)
    return Row(scheme, workers, num_steps, cuts, len(whole), tuple(differing(whole, cut)))
