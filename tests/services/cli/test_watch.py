"""Watching: what is shown, how often, and of how many at once."""

import pytest

from distill.contracts.events import Event, ProgressEvent, Snapshot
from distill.contracts.facts import AttemptClaimed, AttemptEnded, BaselinesReused, QueueReason
from distill.contracts.records import JobState, Outcome, Progress
from services.cli.bars import EVERY_S, FEW, Bars, Lines, Tally
from services.cli.story import tell
from services.cli.watch import follow_all
from services.client import End, StillhouseClient
from tests.services.client.stub_house import NOON, House, a_job, a_short_life


def at_step(step: int, *, job: str = "a") -> ProgressEvent:
    now = Progress(attempt=1, phase="training", step=step, num_steps=9, epoch=0, num_epochs=1, at=NOON)
    return ProgressEvent(job=job, role="student", progress=now)


def test_a_log_gets_a_line_of_progress_every_few_seconds_for_each_job(capsys: pytest.CaptureFixture[str]):
    seconds = iter([0.0, 0.1, EVERY_S - 0.1, EVERY_S])
    lines = Lines({"a": "first", "b": "second"}, clock=lambda: next(seconds))
    for event in (at_step(1), at_step(1, job="b"), at_step(2), at_step(3)):
        lines.progress(event)
    shown = [line.strip().partition(", epoch")[0] for line in capsys.readouterr().out.splitlines()]
    assert shown == ["first: training, step 1 of 9", "second: training, step 1 of 9", "first: training, step 3 of 9"]


def test_bars_take_what_comes_and_leave_the_screen_in_order(capsys: pytest.CaptureFixture[str]):
    with Bars({}) as bars:
        bars.progress(at_step(1))
        bars.progress(at_step(9))
    assert "9/9" in capsys.readouterr().out


def an_end_of(job: str) -> Event:
    fact = AttemptEnded(attempt=1, outcome=Outcome.FINISHED, at=NOON)
    return Event(fact=fact, job=job, role=job, state=JobState.SUCCEEDED, revision=1)


def a_start_of(job: str) -> Event:
    return Event(fact=AttemptClaimed(attempt=1, at=NOON), job=job, role=job, state=JobState.STARTING, revision=1)


def test_of_many_jobs_a_log_tells_beginnings_and_ends_and_counts(capsys: pytest.CaptureFixture[str]):
    jobs = [f"student-s{seed}" for seed in range(FEW + 2)]
    lines = Lines({}, Tally(dict.fromkeys(jobs, JobState.QUEUED)))
    waits = Event(fact=QueueReason(code="x", text="waiting for 1 CPUs", at=NOON), job=jobs[1], role=jobs[1], revision=1)
    for event in (a_start_of(jobs[0]), waits, an_end_of(jobs[0])):
        lines.event(event)
    said = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()]
    assert said == ["student-s0: starting", "student-s0: finished", "jobs: 9 queued, 1 succeeded"]


def test_of_few_jobs_a_log_tells_everything(capsys: pytest.CaptureFixture[str]):
    lines = Lines({}, Tally({"student": JobState.QUEUED, "baseline": JobState.QUEUED}))
    lines.event(
        Event(fact=QueueReason(code="x", text="waiting for 1 CPUs", at=NOON), job="baseline", role="b", revision=1)
    )
    lines.event(an_end_of("student"))
    said = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()]
    assert said == ["b: waiting for 1 CPUs", "student: finished"]


def test_of_many_jobs_the_bars_are_one_for_all_and_those_that_run(capsys: pytest.CaptureFixture[str]):
    jobs = [f"job-{number}-" for number in range(40)]
    with Bars({}, Tally(dict.fromkeys(jobs, JobState.QUEUED))) as bars:
        for job in jobs[:30]:
            bars.event(a_start_of(job))
        for job in jobs[:28]:
            bars.event(an_end_of(job))
        capsys.readouterr()
    shown = capsys.readouterr().out
    assert "28/40 " in shown
    assert "10 queued, 2 starting, 28 succeeded" in shown
    assert [job for job in jobs if job in shown] == ["job-28-", "job-29-"]


@pytest.mark.parametrize(
    ("num_jobs", "said"), [(1, "reuses j0 as b0"), (5, "reuses j0 as b0, j1 as b1, j2 as b2 and 2 more")]
)
def test_what_is_reused_is_told_in_a_line(num_jobs: int, said: str):
    fact = BaselinesReused(jobs={f"b{number}": f"j{number}" for number in range(num_jobs)}, at=NOON)
    line = tell(Event(fact=fact, revision=0), who="study", of_many=True)
    assert line is not None
    assert line.endswith(f"study: {said}")


def test_a_job_that_ends_twice_in_the_telling_is_counted_once():
    tally = Tally({"a": JobState.QUEUED, "b": JobState.QUEUED})
    assert [tally.note(an_end_of("a")), tally.note(an_end_of("a"))] == [True, False]
    assert (tally.num_ended, tally.num_jobs, str(tally)) == (1, 2, "1 queued, 1 succeeded")


def test_several_are_followed_until_the_last_has_ended(house: House):
    with StillhouseClient(house.url) as client:
        seen = list(follow_all(client, [("job", "one"), ("job", "two"), ("study", "three")]))
    assert {identity for identity, followed in seen if isinstance(followed.data, End)} == {"one", "two", "three"}
    assert len(seen) == 3 * len(a_short_life())


def a_snapshot(**states: JobState) -> Snapshot:
    return Snapshot(after="9-0", jobs={key: a_job(key, role=key, state=state) for key, state in states.items()})


def test_a_log_goes_on_from_a_snapshot_where_history_is_missing(capsys: pytest.CaptureFixture[str]):
    lines = Lines({}, Tally({"student": JobState.QUEUED, "baseline": JobState.QUEUED}))
    lines.snapshot(a_snapshot(student=JobState.RUNNING, baseline=JobState.SUCCEEDED))
    said = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "what came before is kept no more; this is how things stand:",
        "student: running: because the test says so",
        "baseline: succeeded: because the test says so",
    ]


def test_bars_stand_as_the_snapshot_says(capsys: pytest.CaptureFixture[str]):
    jobs = [f"job-{number}" for number in range(FEW + 2)]
    with Bars({}, Tally(dict.fromkeys(jobs, JobState.QUEUED))) as bars:
        bars.snapshot(a_snapshot(**dict.fromkeys(jobs[:7], JobState.SUCCEEDED), **{jobs[7]: JobState.RUNNING}))
        bars.event(an_end_of(jobs[7]))
        capsys.readouterr()
    shown = capsys.readouterr().out
    assert f"8/{FEW + 2} " in shown
    assert "2 queued, 8 succeeded" in shown
