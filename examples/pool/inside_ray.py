"""``python -m examples.pool.inside_ray --teacher digits-ensemble@demo``: a Ray task with a loop of its own.

Inside the cluster a handle takes the place of HTTP: what a replica answers is read from Ray's shared memory. Each window is
asked while the one before it is learned from.

It needs a running stack (`stillhouse up`) with a published teacher of digits. Started elsewhere in a cluster of one's own,
``ray.init()`` is all that `connect` has to do.
"""

import argparse
import os
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from examples.pool.digits import EPOCHS, Digits, Student, accuracy, label_loss, soft_loss
from services.client.where import find_server
from services.stack import ray_head
from services.stack.home import StackHome
from services.stack.settings import home_folder

if TYPE_CHECKING:
    from teacher_server.client import PendingAnswer, TeacherPool

Waiting = tuple[Tensor, Tensor, "PendingAnswer"]
"""Images, labels, and what will be said of them."""


def train(teacher: str, url: str) -> float:
    """Train a student inside of a Ray task; how good it is on test rows."""
    from teacher_server.client import TeacherPool

    torch.manual_seed(0)
    student, (rows, tests) = Student(), Digits.load()
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.003)
    with TeacherPool.open(teacher, rows_per_s=5000, url=url) as pool:
        for images, labels, pending in asked_ahead(rows, pool):
            logits = student(images)
            loss = label_loss(logits, labels) + soft_loss(logits, pending.result().logits_NMC)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return accuracy(student, tests)


def asked_ahead(rows: Digits, pool: "TeacherPool", *, ahead: int = 2) -> Iterator[Waiting]:
    """Every batch of all epochs, asked so many batches before it is learned from."""
    waiting: deque[Waiting] = deque()
    for epoch in range(EPOCHS):
        for images, labels in rows.batches(epoch):
            waiting.append((images, labels, pool.ask(images)))
            if len(waiting) > ahead:
                yield waiting.popleft()
    yield from waiting


def connect() -> None:
    """Make this process a driver of the one-machine stack's Ray."""
    home = StackHome(home_folder())
    state = home.read()
    if state is None or state.ray is None:
        raise SystemExit(f"no stack runs on {home_folder()}: `stillhouse up` starts one")
    # Ray reads these when it is imported, which our client does too
    os.environ.update(ray_head.ray_environment(home), RAY_ADDRESS=f"127.0.0.1:{state.ray.ports['port']}")
    import ray

    ray.init(log_to_driver=False)


def main() -> None:
    """Train, and print how good the student is."""
    parser = argparse.ArgumentParser(prog="python -m examples.pool.inside_ray", description=main.__doc__)
    parser.add_argument("--teacher", required=True, help="name@version or name@alias of a teacher of digits")
    parser.add_argument("--url", help="of the control plane; left out: STILLHOUSE_URL, else this machine's stack")
    wanted = parser.parse_args()
    connect()
    import ray

    task = ray.remote(num_cpus=0.5)(train)
    print(f"taught by {wanted.teacher}: {ray.get(task.remote(wanted.teacher, find_server(wanted.url))):.3f}")


if __name__ == "__main__":
    main()
