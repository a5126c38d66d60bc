"""Windows: larger than the step, bounded, two in flight, and answers that fit their rows."""

from collections.abc import Iterator

import pytest
import torch

from distill.contracts.errors import InvalidAnswer
from distill.contracts.job import AnswersSpec
from distill.contracts.taps import AttentionTap, MemberTap, WholeTap
from distill.science.compact import CompactLogits
from student_worker.batches import Batch, Cursor
from student_worker.memory import RowMemory
from student_worker.said import Said
from student_worker.targets import served, untaught, window_rows
from tests.student_worker.fakes import FakePool, logits_of
from tests.student_worker.jobs import a_teacher

HALF = AnswersSpec(precision="fp16")


def steps(count: int, num_rows: int) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(0)
    for step in range(count):
        inputs = torch.randint(0, 17, (num_rows, 1, 8, 8), dtype=torch.uint8, generator=generator)
        places_N = torch.arange(num_rows) + step * num_rows
        yield Batch(Cursor(0, step), inputs, torch.full((num_rows,), -1), num_labelled=0, places_N=places_N)


def test_each_batch_gets_the_answers_to_its_own_rows():
    lessons = list(served(steps(10, 30), FakePool(), max_rows=100))
    assert len(lessons) == 10
    assert all(torch.equal(said.logits_NMC, logits_of(batch.inputs)) for batch, said in lessons)


def test_windows_grow_from_one_batch_by_doubling_up_to_the_bound():
    pool = FakePool()
    list(served(steps(40, 32), pool, max_rows=256))
    assert pool.asked[:6] == [32, 64, 128, 256, 256, 256]
    assert sum(pool.asked) == 40 * 32


def test_at_most_two_windows_are_in_flight():
    pool = FakePool()
    list(served(steps(40, 32), pool))
    assert pool.most_in_flight == 2


def test_a_window_is_bounded_by_bytes_too():
    pool = FakePool()
    list(served(steps(20, 32), pool, max_bytes=64 * 100))
    assert max(pool.asked) == 100


def test_a_batch_larger_than_a_window_is_asked_in_parts():
    pool = FakePool()
    lessons = list(served(steps(3, 250), pool, max_rows=100))
    assert max(pool.asked) == 100
    assert all(torch.equal(said.logits_NMC, logits_of(batch.inputs)) for batch, said in lessons)


def test_a_window_with_missing_answers_teaches_nothing():
    pool = FakePool(answer_with=lambda inputs: logits_of(inputs)[:-1])
    with pytest.raises(InvalidAnswer, match="32 rows came back with 31"):
        next(served(steps(2, 32), pool))


def test_a_job_without_teachers_gets_its_batches_alone():
    assert [said for _, said in untaught(steps(3, 4))] == [None] * 3


def test_a_window_never_holds_rows_for_whom_others_are_asked():
    pool = FakePool()
    turns = {0: (0,), 1: (0,), 2: (1,), 3: (0, 1), 4: (0, 1), 5: (0, 1)}
    lessons = list(served(steps(6, 30), pool, speaking=lambda batch: turns[batch.cursor.step], max_rows=60))
    assert [said.members for _, said in lessons] == list(turns.values())
    assert all(torch.equal(said.logits_NMC, logits_of(batch.inputs)[:, list(said.members)]) for batch, said in lessons)
    assert pool.asked_members == [(0,), (0,), (1,), (0, 1), (0, 1)]
    assert pool.asked == [30, 30, 30, 60, 30]


def test_a_window_is_as_small_as_its_answer_asks_for():
    teacher = a_teacher(classes=tuple("0123456789"))
    members = tuple(m.model_copy(update={"taps": {"stages.0": (64, 32, 32)}}) for m in teacher.manifest.members)
    wise = teacher.model_copy(update={"manifest": teacher.manifest.model_copy(update={"members": members})})
    whole = [MemberTap(member=member, tap=WholeTap(name="stages.0")) for member in (1, 3)]
    reduced = [MemberTap(member=1, tap=AttentionTap(name="stages.0", power=2))]

    # two teachers of two members each, ten classes: 40 logits a row
    assert window_rows([wise, wise], [], HALF) == 1024
    assert window_rows([wise, wise], reduced, HALF) == 1024
    assert window_rows([wise, wise], whole, HALF) == 2**26 // (2 * (40 + 2 * 64 * 32 * 32))
    assert window_rows([wise, wise], whole, HALF.model_copy(update={"precision": "fp32"})) == 2**26 // (
        4 * (40 + 2 * 64 * 32 * 32)
    )


def twice(batches: list[Batch]) -> Iterator[Batch]:
    yield from [*batches, *reversed(batches)]


def test_what_was_said_once_is_not_asked_again():
    pool, batches = FakePool(), list(steps(10, 30))
    lessons = list(served(twice(batches), pool, memory=RowMemory(300, max_rows=300), max_rows=100))
    assert len(lessons) == 20
    assert all(torch.equal(said.logits_NMC, logits_of(batch.inputs)) for batch, said in lessons)
    assert sum(pool.asked) == 300


def test_of_a_batch_that_is_half_remembered_the_other_half_is_asked():
    pool, memory, batches = FakePool(), RowMemory(120, max_rows=120), list(steps(4, 30))
    list(served(iter(batches[:2]), pool, memory=memory))
    pool.asked.clear()
    first, last = batches[0], batches[3]
    rows = torch.tensor([29, 3, 11])
    mixed = Batch(
        Cursor(0, 0),
        torch.stack([last.inputs[0], *first.inputs[rows], last.inputs[5]]),
        torch.full((5,), -1),
        num_labelled=0,
        places_N=torch.tensor([last.places_N[0], *first.places_N[rows], last.places_N[5]]),
    )
    ((_, said),) = served(iter([mixed]), pool, memory=memory)
    assert torch.equal(said.logits_NMC, logits_of(mixed.inputs))
    assert pool.asked == [2]


def test_what_does_not_fit_into_the_memory_is_asked_again():
    pool, batches = FakePool(), list(steps(10, 30))
    room = RowMemory(300, max_rows=100)
    lessons = list(served(twice(batches), pool, memory=room, max_rows=60))
    assert all(torch.equal(said.logits_NMC, logits_of(batch.inputs)) for batch, said in lessons)
    assert sum(pool.asked) == 300 + 200


def test_members_who_take_turns_are_remembered_apart():
    pool, batches = FakePool(), list(steps(6, 30))
    lessons = list(
        served(
            twice(batches),
            pool,
            memory=RowMemory(180, max_rows=180),
            speaking=lambda batch: (batch.cursor.step % 2,),
            max_rows=60,
        )
    )
    assert all(
        torch.equal(said.logits_NMC, logits_of(batch.inputs)[:, [batch.cursor.step % 2]]) for batch, said in lessons
    )
    assert sum(pool.asked) == 180


def test_the_greatest_classes_alone_are_remembered_as_they_came():
    log_probs_NMK = torch.rand(4, 2, 3).half()
    classes_NMK = torch.randint(65_536, (4, 2, 3)).to(torch.uint16)
    said = Said(CompactLogits((log_probs_NMK, classes_NMK, torch.rand(4, 2)), 65_536), (0, 1))
    memory, places_N = RowMemory(9, max_rows=9), torch.tensor([7, 0, 3, 8])
    assert memory.reserve(places_N, None).all()
    memory.keep(places_N, None, said)
    again = memory.recall(places_N.flip(0), None)
    assert all(torch.equal(mine, its.flip(0)) for mine, its in zip(again.tensors, said.tensors, strict=True))


def test_no_row_is_read_ahead_where_all_are_remembered():
    memory, batches, read = RowMemory(3000, max_rows=3000), list(steps(100, 30)), []

    def reading() -> Iterator[Batch]:
        for batch in batches:
            read.append(batch)
            yield batch

    list(served(iter(batches), FakePool(), memory=memory))
    for done, _ in enumerate(served(reading(), FakePool(), memory=memory), start=1):
        assert len(read) == done
