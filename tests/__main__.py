"""All tests, in two processes side by side: those that share the one stack with Ray or train students, and all others.

``python -m tests WORDS...`` hands the words to both, as ``python -m pytest WORDS...`` does to one. The stack's part is
printed when both have ended.
"""

import subprocess
import sys
import tempfile

import pytest


def main(words: list[str]) -> int:
    """The exit code: 0 if all that ran passed, and something ran."""
    with tempfile.TemporaryFile() as kept:
        stack = subprocess.Popen(_command("stack", words), stdout=kept, stderr=subprocess.STDOUT)
        codes = [_wait(subprocess.Popen(_command("others", words))), _wait(stack)]
        kept.seek(0)
        print(
            f"\n== the tests of the stack, and of what trains students\n{kept.read().decode(errors='replace')}",
            flush=True,
        )
    ran = [code for code in codes if code != pytest.ExitCode.NO_TESTS_COLLECTED]
    return max(ran, default=int(pytest.ExitCode.NO_TESTS_COLLECTED))


def _command(part: str, words: list[str]) -> list[str]:
    return [sys.executable, "-m", "pytest", f"--part={part}", "-o", f"cache_dir=.pytest_cache/{part}", *words]


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Its exit code. Ctrl-C reaches both of themselves, and each takes down what it has started."""
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            continue
        return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
