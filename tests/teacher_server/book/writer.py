"""A process that saves row after row of a book for ever, and says which are saved: to be killed."""

import sys
from pathlib import Path

from teacher_server.book.shelf import Shelf
from tests.teacher_server.book.rows import KEY, rows_of

if __name__ == "__main__":
    shelf = Shelf(Path(sys.argv[1]), max_bytes=2**30)
    for number in range(2048):
        shelf.save(KEY, rows_of([number]))
        print(number, flush=True)
        if number % 5 == 4:
            shelf.load(KEY, max_bytes=2**30)  # merges now and then
