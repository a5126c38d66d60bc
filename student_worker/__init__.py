"""One attempt at one job, on Ray Train: driver, ranks, checkpoints, export."""
