"""Request bodies for the OpenAPI document; a test submits each."""

from typing import Any

JOB: dict[str, Any] = {
    "name": "digits-cnn",
    "dataset": {"source": "digits", "labels": {"kind": "all"}},
    "student": {"source": "zoo", "name": "cnn", "args": {"width": 8}},
    "objective": [{"kind": "labels"}],
    "training": {"epochs": 5, "batch_size": 64},
}

DISTILLATION: dict[str, Any] = {
    "name": "fashion-small",
    "dataset": {"source": "fashion-mnist", "labels": {"kind": "count", "count": 1000}},
    "student": {"source": "zoo", "name": "cnn", "args": {"width": 8}},
    "teachers": [{"name": "fashion@1"}],
    "objective": [
        {"kind": "labels", "weight": 0.1},
        {"kind": "soft_targets", "weight": 0.9, "temperature": 4.0, "target": {"from": "served"}},
    ],
    "training": {"epochs": 10, "batch_size": 128},
}

JOBS = {
    "labels-alone": {"summary": "A student taught by true labels alone", "value": JOB},
    "taught": {"summary": "A student taught by a served ensemble and 1,000 labels", "value": DISTILLATION},
}

STUDIES = {
    "with-baseline": {
        "summary": "A taught student beside the same student without teachers",
        "value": {"name": "fashion-study", "job": DISTILLATION},
    },
    "frontier": {
        "summary": "Students of several sizes and seeds, each beside its baseline",
        "value": {
            "name": "fashion-frontier",
            "seeds": [0, 1, 2],
            "sweep": [
                {"name": f"width-{width}", "student": {"source": "zoo", "name": "cnn", "args": {"width": width}}}
                for width in (4, 8, 16)
            ],
            "job": DISTILLATION,
        },
    },
    "born-again": {
        "summary": "Generations that teach one another, the first taught by labels alone",
        "value": {
            "name": "digits-again",
            "generations": 3,
            "later_objective": [{"kind": "labels"}, {"kind": "soft_targets"}],
            "job": JOB,
        },
    },
}

VERSIONS = {
    "from-jobs": {
        "summary": "An ensemble of the students that three jobs left",
        "value": {
            "members": [{"source": "job", "job": f"member-{seed}-abc234"} for seed in range(3)],
            "resources": {"num_cpus": 0.5, "replicas": 1, "max_replicas": 4},
            "alias": "prod",
        },
    },
    "a-trajectory": {
        "summary": "What one job's student was after several epochs, to be followed with `members: {kind: in_order}`",
        "value": {"members": [{"source": "job", "job": "teacher-abc234", "epoch": epoch} for epoch in (4, 8, 12)]},
    },
    "from-a-file": {
        "summary": "One member from a safetensors file in the data root",
        "value": {
            "members": [
                {
                    "source": "file",
                    "path": "teachers/mlp.safetensors",
                    "model": {"source": "zoo", "name": "mlp", "args": {"hidden": [64]}},
                    "input": {"kind": "image", "channels": 1, "height": 8, "width": 8, "mean": [0.3], "std": [0.35]},
                    "classes": [str(digit) for digit in range(10)],
                }
            ]
        },
    },
}

RESERVATIONS = {
    "a-loop-of-ones-own": {
        "summary": "A training loop that can take 5,000 rows a second",
        "value": {"teacher": "fashion@prod", "rows_per_s": 5000},
    },
}

TEAMS = {
    "weight-and-quotas": {
        "summary": "Twice the share of others, at most ten jobs with eight GPUs at a time",
        "value": {"weight": 2.0, "max_jobs": 10, "max_gpus": 8, "max_teacher_rows_per_month": 50_000_000_000},
    },
}

KEYS = {
    "of-a-team": {
        "summary": "A key with which a team's nightly runs submit and read",
        "value": {"name": "nightly-runs", "team": "vision", "scopes": ["read", "submit"]},
    },
}
