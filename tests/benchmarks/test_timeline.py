"""Idle replicas while windows wait, worked out by hand."""

import json

import pytest

from benchmarks.timeline import Computed, idle_while_waiting, read_notes


def share(computed, asked, *, replicas=2, until=4.0):
    return idle_while_waiting(computed, asked, batch_rows=10, num_replicas=replicas, since=0.0, until=until)


def test_a_replica_that_idles_while_two_batches_wait_counts():
    # one replica takes them one after the other; while it computes the first, two wait and the other replica idles
    computed = [Computed(1, 2, 10), Computed(2, 3, 10), Computed(3, 4, 10)]
    assert share(computed, [1, 1, 1]) == pytest.approx(1 / 8)


def test_one_waiting_batch_is_no_loss():
    assert share([Computed(1, 2, 10), Computed(2, 3, 10)], [1, 1]) == 0


def test_busy_replicas_are_not_idle_however_much_waits():
    computed = [Computed(0, 2, 10), Computed(0, 2, 10), Computed(2, 4, 10), Computed(2, 4, 10)]
    assert share(computed, [0] * 20) == 0


def test_only_the_time_that_counts_counts():
    assert share([], [-5.0, -5.0, -5.0]) == 1
    assert share([Computed(2, 9, 10)], [-5.0, -5.0, -5.0], replicas=1) == pytest.approx(2 / 4)


def test_notes_of_all_replicas_are_read(tmp_path):
    for pid in (1, 2):
        (tmp_path / f"{pid}.jsonl").write_text(json.dumps({"began": pid, "ended": pid + 1, "rows": 3}) + "\n")
    assert sorted(read_notes(tmp_path), key=lambda batch: batch.began) == [Computed(1, 2, 3), Computed(2, 3, 3)]
