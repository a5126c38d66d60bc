"""What the teacher pool costs and gains, measured: ``python -m benchmarks``."""
