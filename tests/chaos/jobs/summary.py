"""A run in words: what there was, what befell it, and which invariants hold."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.jobs.run import Outcome
from tests.chaos.jobs.trails import Broken

SHOWN = 5
"""So many places of each invariant that is broken are shown."""


def summary(outcome: Outcome, broken: Mapping[str, Sequence[Broken]]) -> str:
    """For a person, in a page."""
    return "\n".join([*_what_there_was(outcome), "", *_invariants(outcome, broken)])


def _what_there_was(outcome: Outcome) -> Iterator[str]:
    evidence = outcome.evidence
    trails = evidence.trails.values()
    states = Counter(trail.record.state.value for trail in trails)
    attempts = [attempt for trail in trails for attempt in trail.record.attempts]
    ends = Counter(attempt.outcome.value for attempt in attempts if attempt.outcome)
    answers = sum(len(submit.answers) for submit in evidence.submits)
    yield f"seed {outcome.seed}: {outcome.seconds:.0f} s of troubles, and {outcome.rest_s:.0f} s until all had come to rest"
    yield f"submits: {len(evidence.submits)} keys, answered {answers} times; of the jobs {len(evidence.gone)} were deleted"
    yield f"jobs:    {_counted(states)}"
    yield f"         in {len(attempts)} attempts ({_counted(ends)}), {sum(len(trail.entries) for trail in trails):,} events"
    yield f"troubles: {sum(outcome.befell.values())} ({_counted(outcome.befell)})"
    yield f"wishes:  {_counted(outcome.acts)}"
    yield f"         not answered at first: {_counted(outcome.unanswered)}"


def _invariants(outcome: Outcome, broken: Mapping[str, Sequence[Broken]]) -> Iterator[str]:
    for name, places in broken.items():
        yield f"{'BROKEN' if places else 'holds ':6}  {name}"
        for place in places[:SHOWN]:
            yield f"          {place.job}: {place.what}"
            yield from (f"            {event}" for event in place.events[-SHOWN:])
        if len(places) > SHOWN:
            yield f"          and {len(places) - SHOWN} more"
    count = sum(bool(places) for places in broken.values())
    yield f"\n{len(broken)} invariants, {count} broken" + (f": try seed {outcome.seed} again" if count else "")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items())) or "none"
