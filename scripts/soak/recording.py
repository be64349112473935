"""The writes and syncs of a process, in order, as ``strace`` sees them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: How a line begins that a recorded process writes to its output after each call (a child of it may write there too).
ACKNOWLEDGED = "acknowledged"
_CALLS = "open,openat,creat,write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat"
_LINE = re.compile(r"(\d+)\s+([\d.]+) (.*)\n?")
_RESULT = re.compile(r"(.*)\)\s+= (\d+).*")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"\d+<((?:\\x[0-9a-f]{2})*)>")


class Call(NamedTuple):
    """A call that changes a file, or an acknowledgement; `start` and `at` order them: when it began and returned."""

    start: int
    at: int
    time: float
    kind: str
    path: str = ""
    offset: int = 0
    data: bytes = b""
    target: str = ""


def missing() -> str:
    """Tell why nothing can be recorded here; "" when it can."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed"
    probe = subprocess.run([strace, "-f", "-o", os.devnull, "true"], capture_output=True, check=False)
    return "" if probe.returncode == 0 else f"strace may not trace here: {probe.stderr.decode().strip()[:100]}"


def record(command: list[str], root: Path, log: Path) -> list[Call]:
    """Run a command, and give what it did to the files below a folder, and what it wrote to its output."""
    under = ["strace", "-f", "-qq", "-y", "-ttt", "-xx", "-s", "100000000", "-e", f"trace={_CALLS}", "-o", str(log)]
    subprocess.run([*under, *command], check=True, stdout=subprocess.DEVNULL, timeout=900)
    with log.open(encoding="ascii") as lines:
        return sorted(_calls(lines, str(root)), key=lambda call: call.at)


def _calls(lines: Iterator[str], root: str) -> Iterator[Call]:
    below = "".join(rf"\x{byte:02x}" for byte in root.encode())
    begun: dict[str, tuple[int, str]] = {}
    for index, line in enumerate(lines):
        if below not in line and " write(1<" not in line and " resumed>" not in line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        process, moment, text = match.groups()
        start = index
        if text.endswith("<unfinished ...>"):
            begun[process] = (index, text.removesuffix("<unfinished ...>"))
            continue
        if text.startswith("<... "):
            if process not in begun:
                continue  # of another file
            start, beginning = begun.pop(process)
            text = beginning + text.partition(" resumed>")[2]
        call = _call(text, start, index, float(moment))
        if call is not None and (call.kind == "acknowledge" or call.path.startswith(f"{root}/") or call.path == root):
            yield call


def _call(text: str, start: int, at: int, moment: float) -> Call | None:
    name, _, rest = text.partition("(")
    returned = _RESULT.fullmatch(rest)
    if returned is None:
        return None  # it failed, or the process ended within it
    arguments, result = returned.groups()
    strings = [bytes.fromhex(found.replace(r"\x", "")) for found in _STRING.findall(arguments)]
    descriptor = _DESCRIPTOR.match(arguments)
    path = _path(bytes.fromhex(descriptor[1].replace(r"\x", ""))) if descriptor else ""
    if path.endswith("-shm") or (strings and strings[0].endswith(b"-shm")):
        return None  # never synced, and made anew by whoever opens the catalog first
    if name in ("open", "openat", "creat"):
        if "O_CREAT" not in arguments and "O_TRUNC" not in arguments and name != "creat":
            return None
        return Call(start, at, moment, "create", _path(strings[0]), 0, b"truncate" if "O_TRUNC" in arguments else b"")
    if name == "write" and strings[0].startswith(ACKNOWLEDGED.encode()):
        return Call(start, start, moment, "acknowledge", data=strings[0])
    if name in ("write", "pwrite64"):
        written = int(result)
        if name == "write":
            return Call(start, at, moment, "append", path, 0, strings[0][:written])
        return Call(start, at, moment, "write", path, int(arguments.rpartition(",")[2]), strings[0][:written])
    if name == "ftruncate":
        return Call(start, at, moment, "truncate", path, int(arguments.rpartition(",")[2]))
    if name in ("fsync", "fdatasync"):
        return Call(start, at, moment, "sync", path)
    if name.startswith("rename"):
        return Call(start, at, moment, "rename", _path(strings[0]), target=_path(strings[1]))
    return Call(start, at, moment, "unlink", _path(strings[0]))


def _path(name: bytes) -> str:
    return name.decode(errors="surrogateescape")
