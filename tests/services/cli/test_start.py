"""The program starts fast: it never imports what it doesn't need."""

import subprocess
import sys

HEAVY = {"torch", "ray", "numpy", "sklearn", "fastapi", "uvicorn", "redis", "httpx"}


def test_the_program_loads_nothing_heavy():
    code = "import sys, services.cli.main; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) == set()
