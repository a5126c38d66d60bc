"""The yardstick of `submit_to_first_step`: the same student and data in a plain `TorchTrainer` script, without Stillhouse.

Prints one JSON object: station -> seconds since the process was asked for, whose time is the first argument.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

asked_at, marks_file = float(sys.argv[1]), sys.argv[2]


def loop(config: dict[str, Any]) -> None:
    """Load the digits, and take one step."""
    began = time.time()
    import numpy
    import torch
    from ray.train.torch import prepare_model
    from sklearn.datasets import load_digits

    torch.set_num_threads(1)
    inputs, labels = load_digits(return_X_y=True)
    rows = torch.from_numpy(inputs.astype(numpy.float32))[:128] / 16
    network = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    model = prepare_model(network)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    loss = torch.nn.functional.cross_entropy(model(rows), torch.from_numpy(labels)[:128])
    loss.backward()
    optimizer.step()
    Path(config["marks_file"]).write_text(json.dumps({"workers ready": began, "first step": time.time()}))


def main() -> None:
    """Run it on the cluster that ``RAY_ADDRESS`` names."""
    marks = {"process started": time.time()}
    import logging

    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    marks["imports done"] = time.time()
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    marks["connected"] = time.time()
    scaling = ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.5})
    run = RunConfig(name=f"bare-{time.time_ns()}", storage_path=str(Path(marks_file).parent))
    TorchTrainer(loop, train_loop_config={"marks_file": marks_file}, scaling_config=scaling, run_config=run).fit()
    marks |= json.loads(Path(marks_file).read_text())
    marks["ended"] = time.time()
    print(json.dumps({name: at - asked_at for name, at in marks.items()}))


if __name__ == "__main__":
    main()
