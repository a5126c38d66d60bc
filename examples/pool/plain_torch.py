"""``python -m examples.pool.plain_torch --teacher digits-ensemble@demo``: a plain torch loop that asks the pool over HTTP.

A student of 2,410 parameters learns digits from fifty labels; then once more, with a teacher's answers to all 1,400 images.
The loops of `alone` and `taught` differ in two lines.

It needs a running stack (`stillhouse up`) with a published teacher of digits; the process itself needs no Ray.
"""

import argparse

import torch

from examples.pool.digits import EPOCHS, Digits, Student, accuracy, label_loss, soft_loss
from teacher_server.remote import RemotePool


def alone(rows: Digits) -> Student:
    """A student that learns from labels."""
    student, optimizer = start()
    for epoch in range(EPOCHS):
        for images, labels in rows.batches(epoch):
            logits = student(images)
            loss = label_loss(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return student


def taught(rows: Digits, pool: RemotePool) -> Student:
    """A student that learns from labels and a teacher."""
    student, optimizer = start()
    for epoch in range(EPOCHS):
        for (images, labels), answer in pool.answered(rows.batches(epoch)):
            logits = student(images)
            loss = label_loss(logits, labels) + soft_loss(logits, torch.from_numpy(answer.logits))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return student


def start() -> tuple[Student, torch.optim.Optimizer]:
    """The same student each time, and its optimiser."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # in a net so small, more only wait for each other
    student = Student()
    return student, torch.optim.AdamW(student.parameters(), lr=0.003)


def main() -> None:
    """Train both, and print how good they are."""
    parser = argparse.ArgumentParser(prog="python -m examples.pool.plain_torch", description=main.__doc__)
    parser.add_argument("--teacher", required=True, help="name@version or name@alias of a teacher of digits")
    parser.add_argument("--url", help="of the control plane; left out: STILLHOUSE_URL, else this machine's stack")
    wanted = parser.parse_args()
    rows, tests = Digits.load()
    print(f"labels alone:            {accuracy(alone(rows), tests):.3f}")
    with RemotePool(wanted.teacher, rows_per_s=5000, url=wanted.url) as pool:
        print(f"taught by {pool.teacher.reference}:  {accuracy(taught(rows, pool), tests):.3f}")


if __name__ == "__main__":
    main()
