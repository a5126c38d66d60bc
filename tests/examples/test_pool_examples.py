"""The examples of training loops of one's own, against a real door with a teacher that knows its digits."""

import numpy as np
import pytest
import torch

from distill.contracts.models import ImageInput
from distill.contracts.names import DOOR_PREFIX
from examples.pool import digits, plain_torch
from teacher_server.remote import RemotePool
from tests.teacher_server.door.doors import KEY, TEACHER, DoorWithoutCluster, serving
from tests.teacher_server.house import House, keeping

IMAGE = ImageInput(channels=1, height=8, width=8, mean=(0.5,), std=(0.5,))


@pytest.fixture(scope="module")
def rows():
    return digits.Digits.load()


@pytest.fixture
def pool(rows):
    """Two members that compare an image with the mean of each digit."""
    known, labels = digits.load_digits(return_X_y=True)
    means_CP = np.stack([known[labels == c].mean(axis=0) for c in range(10)])
    door = DoorWithoutCluster()

    def logits(inputs, members):
        pixels_N1P = inputs.reshape(len(inputs), 1, 64) * (16 / 255)
        return -np.stack([((pixels_N1P - means_CP) ** 2).mean(axis=-1)] * len(members), axis=1) / 4

    door.teacher.logits = logits
    manifest = TEACHER.manifest.model_copy(update={"input": IMAGE, "classes": tuple("0123456789")})
    with serving(door) as url, keeping(House(door=url + DOOR_PREFIX)) as house:
        house.teacher = TEACHER.model_copy(update={"manifest": manifest})
        house.on_change = door.shelf.put
        with RemotePool("digits@prod", rows_per_s=5000, url=house.url, key=KEY) as pool:
            yield pool


def test_a_plain_loop_learns_more_with_a_teachers_answers(pool, rows, monkeypatch):
    monkeypatch.setattr(plain_torch, "EPOCHS", 5)
    seen, tests = rows
    alone, taught = plain_torch.alone(seen), plain_torch.taught(seen, pool)
    assert digits.accuracy(taught, tests) > digits.accuracy(alone, tests) + 0.02


def test_trainers_loss_is_that_of_labels_and_teacher(pool, rows, monkeypatch):
    from examples.pool import huggingface_trainer

    # Trainer itself asks for a package that the service doesn't need
    monkeypatch.setattr(huggingface_trainer.Trainer, "__init__", lambda self: None)
    images, labels = rows[0].batches(0)[0]
    student = digits.Student()
    trainer = huggingface_trainer.TaughtTrainer(pool=pool)
    loss, outputs = trainer.compute_loss(student, {"images": images, "labels": labels}, return_outputs=True)
    teacher = torch.from_numpy(pool.ask(images).result().logits)
    alone = digits.label_loss(student(images), labels)
    torch.testing.assert_close(loss - alone, digits.soft_loss(student(images), teacher))
    assert outputs["logits"].shape == (32, 10)
