"""``python -m examples.pool.huggingface_trainer --teacher digits-ensemble@demo``: Hugging Face's Trainer, taught.

A small vision transformer learns digits from fifty labels and a teacher's answers. All that is new is in `compute_loss`: the
batch is sent before the student's forward pass, and the answer is waited for after it.

It needs a running stack (`stillhouse up`) with a published teacher of digits, and the package ``accelerate``, which Trainer
asks for and this service does not: ``pip install accelerate``.
"""

import argparse
import tempfile
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

from examples.pool.digits import EPOCHS, Digits, accuracy, label_loss, soft_loss
from teacher_server.remote import RemotePool


class TaughtTrainer(Trainer):
    """Trainer, with a teacher whose answers count beside the labels."""

    def __init__(self, *, pool: RemotePool, **arguments: Any) -> None:
        """``pool`` answers; the rest is Trainer's own."""
        super().__init__(**arguments)
        self.pool = pool

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The loss of labels and of the teacher's answers."""
        pending = self.pool.ask(inputs["images"])
        logits = model(inputs["images"])
        teacher = torch.from_numpy(pending.result().logits).to(logits.device)
        loss = label_loss(logits, inputs["labels"]) + soft_loss(logits, teacher)
        return (loss, {"logits": logits}) if return_outputs else loss


class Transformer(nn.Module):
    """A vision transformer of 8 x 8 images, with patches of 2 x 2; takes them as they are stored."""

    def __init__(self) -> None:
        super().__init__()
        self.net = ViTForImageClassification(
            ViTConfig(
                image_size=8, patch_size=2, num_channels=1, num_labels=10, hidden_size=32, intermediate_size=64,
                num_hidden_layers=2, num_attention_heads=2,
            )
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C)."""
        logits_NC: Tensor = self.net(images / 255 - 0.5).logits
        return logits_NC


def train(rows: Digits, pool: RemotePool, *, epochs: int = EPOCHS) -> Transformer:
    """A student that Trainer trained."""
    items = [{"images": image, "labels": label} for image, label in zip(rows.images, rows.labels, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=epochs,
            per_device_train_batch_size=32,
            learning_rate=0.003,
            seed=0,
            save_strategy="no",
            report_to=[],
            remove_unused_columns=False,
            use_cpu=not torch.cuda.is_available(),
            disable_tqdm=True,
        )
        torch.manual_seed(0)
        trainer = TaughtTrainer(pool=pool, model=Transformer(), args=arguments, train_dataset=items)
        trainer.train()
    return trainer.model.cpu()


def main() -> None:
    """Train, and print how good the student is."""
    parser = argparse.ArgumentParser(prog="python -m examples.pool.huggingface_trainer", description=main.__doc__)
    parser.add_argument("--teacher", required=True, help="name@version or name@alias of a teacher of digits")
    parser.add_argument("--url", help="of the control plane; left out: STILLHOUSE_URL, else this machine's stack")
    wanted = parser.parse_args()
    rows, tests = Digits.load()
    with RemotePool(wanted.teacher, rows_per_s=2000, url=wanted.url) as pool:
        student = train(rows, pool).eval()
        print(f"taught by {pool.teacher.reference}: {accuracy(student, tests):.3f}")


if __name__ == "__main__":
    main()
