"""The one entry for developers: needs a bare Python with pip and venv, and makes the rest.

    python3 scripts/dev.py demo     train small segmenters and ask the catalog about them
    python3 scripts/dev.py test     run the tests          (arguments go to pytest)
    python3 scripts/dev.py test --faults           those of faults only, and say what this machine cannot do
    python3 scripts/dev.py test --soak MINUTES     kill storms, crowds, bit flips, power losses, and a tally
    python3 scripts/dev.py check    formatting, lint and types
    python3 scripts/dev.py bench    run the benchmark      (arguments go to it)

The first time, and whenever pyproject.toml has changed, the package and its tools are installed
into .venv in the repository. What follows the command passes through: `demo --help`, `test -k sql`.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "dev-installed"
OLDEST = (3, 11)
CHECKS = (["black", "--check", "."], ["ruff", "check", "."], ["basedpyright"])


def main(command: str = "", *arguments: str) -> int:
    if command in ("", "-h", "--help", "help"):
        print(__doc__)
        return 0
    if command not in ("demo", "test", "check", "bench"):
        return complain(f"no such command: {command!r}\n{__doc__}")
    if command == "check" and arguments:
        return complain("check takes no further arguments")
    problem = prepare()
    if problem:
        return complain(problem)
    if command == "check":
        return check()
    if command == "test" and arguments[:1] == ("--soak",):
        return run(ROOT / "scripts" / "soak", *arguments[1:])
    if command == "test" and arguments[:1] == ("--faults",):
        return run("-m", "pytest", "-rs", "tests/faults", *arguments[1:])
    if command == "test":
        # Most of a fault test is waiting for processes and disks: three at once take a third of the time.
        return run("-m", "pytest", *(arguments or ["-q", "-n", "3"]))
    if command == "bench":
        return run(ROOT / "scripts" / "benchmark.py", *arguments)
    return run(ROOT / "scripts" / "demo", *arguments, cwd=None)  # its paths are the caller's


def check() -> int:
    results = {tool[0]: run("-m", *tool) for tool in CHECKS}
    print()
    for name, status in results.items():
        print(f"{name:<13} {'ok' if status == 0 else f'failed (exit status {status})'}")
    return int(any(results.values()))


def run(*arguments: str | Path, cwd: Path | None = ROOT) -> int:
    """Run the Python of .venv; Ctrl-C and SIGTERM are its to handle, its exit status is ours."""
    process = subprocess.Popen([str(PYTHON), *map(str, arguments)], cwd=cwd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the child as well
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    status = process.wait()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return status if status >= 0 else 128 - status


def prepare() -> str:
    """Make .venv what pyproject.toml asks for; what stands in the way, or nothing."""
    project = (ROOT / "pyproject.toml").read_bytes()
    wanted = hashlib.sha256(project + os.fsencode(ROOT)).hexdigest()  # a moved clone is made anew
    if PYTHON.exists() and STAMP.exists() and STAMP.read_text("ascii") == wanted:
        return ""
    if not usable():
        found = sys.version_info[:2]
        if found < OLDEST:
            return "Python {}.{} or newer is needed, this is {}.{}: {}".format(*OLDEST, *found, sys.executable)
        if not (find_spec("venv") and find_spec("ensurepip")):
            return (
                f"{sys.executable} has no venv or ensurepip; "
                "on Debian and Ubuntu: sudo apt install python{}.{}-venv".format(*found)
            )
        print("making .venv", file=sys.stderr, flush=True)
        made = quietly(sys.executable, "-m", "venv", "--clear", str(VENV))
        if made:
            return f"making .venv failed:\n{made}"
    first = "" if STAMP.exists() else " (first time: about a minute)"
    print(f"installing into .venv{first}", file=sys.stderr, flush=True)
    STAMP.unlink(missing_ok=True)
    failed = quietly(
        *(str(PYTHON), "-m", "pip", "install"),
        *("--quiet", "--disable-pip-version-check", "-e", ".[dev]"),
    )
    if failed:
        return f"installing failed:\n{failed}"
    STAMP.write_text(wanted, "ascii")
    return ""


def usable() -> bool:
    """Whether .venv has a Python that is new enough and has pip: else it is made anew."""
    probe = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
    return PYTHON.exists() and not quietly(str(PYTHON), "-c", probe)


def quietly(*command: str) -> str:
    """What a command printed if it failed, nothing if it succeeded."""
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    except OSError as error:
        return str(error)
    printed = done.stdout.decode(errors="replace").strip()
    return "" if done.returncode == 0 else printed or f"exit status {done.returncode}"


def complain(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except KeyboardInterrupt:  # while installing
        sys.exit(130)
