"""One of several jobs at once, in a process of its own: it asks for every row of its data, and learns nothing.

``python -m benchmarks.one_job TEACHER_JSON NUM_ROWS SEED``, with the environment of a Ray job's driver; says ``ready``,
waits for a line, and says how many rows it asked for and how many of them nobody computed for it.
"""

import json
import os
import sys
from pathlib import Path

os.environ["RAY_AUTH_MODE"] = "token"  # Ray reads it when it is imported

import ray
import torch

from benchmarks.workload import Workshop
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import ResolvedTeacher
from distill.journal.client import open_redis
from teacher_server.client import TeacherPool


def main(teacher_file: str, num_rows: int, seed: int) -> None:
    """Ask, and print what came of it."""
    torch.set_num_threads(1)
    settings = NodeSettings.from_environment()
    ray.init(log_to_driver=False, logging_level="ERROR")
    teacher = ResolvedTeacher.model_validate_json(Path(teacher_file).read_bytes())
    job = f"at-once-{seed}"
    workshop = Workshop(settings, open_redis(settings.redis_url))
    student = workshop.student(job, [teacher], rows=slice(0, num_rows), epochs=1, seed=seed)
    pool = TeacherPool([teacher], team="default", job=job, answers=student.record.spec.answers)
    pool.wait_ready(60)
    print("ready", flush=True)
    sys.stdin.readline()
    rows = sum(len(batch.inputs) for batch, _ in student.served(pool))
    print(json.dumps({"rows": rows, "asked": pool.rows_asked, "recalled": pool.rows_recalled}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
