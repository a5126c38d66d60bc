"""One book on storage: whole or not at all, whatever happens to its files."""

import logging

import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from distill.contracts.errors import InvalidAnswer
from teacher_server.book import segments
from teacher_server.book.pages import Rows
from teacher_server.book.segments import load_segments, read_segment, write_segment
from tests.teacher_server.book.rows import answers_to, digests_of, numbers_in, rows_of

BOOK = "0123abcd"
ROOM = 2**30


def load(folder):
    pages = load_segments(folder, book=BOOK, max_bytes=ROOM)
    return sorted(numbers_in(dict(pages.rows(0, pages.num_rows).answers))) if pages.num_rows else []


def test_a_segment_gives_back_what_was_written(tmp_path):
    path = write_segment(tmp_path, rows_of([5, 3]), book=BOOK)
    rows = read_segment(path, book=BOOK)
    assert (rows.digests == digests_of([5, 3])).all()
    assert numbers_in(dict(rows.answers)) == [5, 3]
    assert rows.answers["logits"].dtype == "float16"


@pytest.mark.parametrize("share", [0, 0.001, 0.05, 0.5, 0.9, 0.999])
def test_a_file_cut_at_any_length_is_put_aside_and_the_others_are_used(tmp_path, caplog, share):
    write_segment(tmp_path, rows_of([1, 2]), book=BOOK)
    torn = write_segment(tmp_path, rows_of(range(3, 40)), book=BOOK)
    whole = torn.read_bytes()
    torn.write_bytes(whole[: int(share * len(whole))])
    with caplog.at_level(logging.ERROR):
        assert load(tmp_path) == [1, 2]
    assert [path.name for path in tmp_path.glob("*.aside")] == [f"{torn.name}.aside"]
    assert torn.name in caplog.text


def test_one_changed_bit_of_an_answer_puts_the_segment_aside(tmp_path):
    path = write_segment(tmp_path, rows_of([1, 2]), book=BOOK)
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    assert load(tmp_path) == []
    assert not path.exists()


def test_a_changed_answer_under_the_old_checksum_puts_the_segment_aside(tmp_path):
    path = write_segment(tmp_path, rows_of([1, 2]), book=BOOK)
    with pytest.raises(InvalidAnswer, match="not a segment"):
        read_segment(path, book="another")
    save_file({"digests": digests_of([1, 2]), **answers_to([1, 3])}, path, metadata=metadata_of(path))
    with pytest.raises(InvalidAnswer, match="changed since it was written"):
        read_segment(path, book=BOOK)
    assert load(tmp_path) == []


def test_a_foreign_safetensors_file_is_put_aside(tmp_path):
    save_file(answers_to([1]), tmp_path / "weights.safetensors")
    assert load(tmp_path) == []
    assert (tmp_path / "weights.safetensors.aside").exists()


def test_a_file_that_was_put_aside_before_is_kept_beside_the_next(tmp_path):
    for _ in range(2):
        save_file(answers_to([1]), tmp_path / "weights.safetensors")
        load(tmp_path)
    assert len(list(tmp_path.glob("*.aside"))) == 2


def test_a_temporary_file_of_a_crash_is_removed(tmp_path):
    write_segment(tmp_path, rows_of([1]), book=BOOK)
    left_over = tmp_path / ".0123-x.safetensors"
    left_over.write_bytes(b"half")
    assert load(tmp_path) == [1]
    assert not left_over.exists()


def test_many_small_segments_become_one_with_the_same_rows(tmp_path):
    for number in range(12):
        write_segment(tmp_path, rows_of([number, 100]), book=BOOK)
    assert load(tmp_path) == [*range(12), 100]
    (merged,) = tmp_path.glob("*.safetensors")
    assert len(load_file(merged)["digests"]) == 13
    assert load(tmp_path) == [*range(12), 100]


def test_a_crash_between_merging_and_removing_costs_nothing(tmp_path):
    for number in range(12):
        write_segment(tmp_path, rows_of([number]), book=BOOK)
    olds = {path: path.read_bytes() for path in tmp_path.iterdir()}
    load(tmp_path)
    for path, content in olds.items():  # as if none had been removed
        path.write_bytes(content)
    assert load(tmp_path) == list(range(12))
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


def test_segments_beyond_the_room_in_memory_stay_unread_and_where_they_are(tmp_path):
    for start in (0, 100):
        write_segment(tmp_path, rows_of(range(start, start + 100)), book=BOOK)
    pages = load_segments(tmp_path, book=BOOK, max_bytes=30_000)
    assert pages.num_rows == 100
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_a_segment_of_another_form_than_the_first_is_put_aside(tmp_path):
    write_segment(tmp_path, rows_of([1]), book=BOOK)
    other = {"logits": answers_to([2])["logits"].astype("float32")}
    write_segment(tmp_path, Rows(digests_of([2]), other), book=BOOK)
    assert load_segments(tmp_path, book=BOOK, max_bytes=ROOM).num_rows == 1
    assert len(list(tmp_path.glob("*.aside"))) == 1


def test_a_full_disk_is_an_error_of_the_storage_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(segments, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        write_segment(tmp_path, rows_of([1]), book=BOOK)
    assert list(tmp_path.iterdir()) == []


def test_segments_that_cannot_become_one_are_used_as_they_are(tmp_path, monkeypatch):
    for number in range(12):
        write_segment(tmp_path, rows_of([number]), book=BOOK)
    monkeypatch.setattr(segments, "write_whole", lambda *_: (_ for _ in ()).throw(OSError("No space left")))
    assert load(tmp_path) == list(range(12))
    assert len(list(tmp_path.glob("*.safetensors"))) == 12


def metadata_of(path):
    with safe_open(path, framework="np") as file:
        return file.metadata()
