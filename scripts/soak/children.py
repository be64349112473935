"""Processes to be killed, and processes that look at what is left: forked, so that none pays for imports."""

from __future__ import annotations

import json
import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn


class ChildError(Exception):
    """The child crashed, hung or raised."""


def start(work: Callable[[], object]) -> int:
    """Fork a process that does the work and ends without the interpreter's exit; give its pid."""
    pid = os.fork()
    if pid == 0:
        _leave(work)
    return pid


def _leave(work: Callable[[], object]) -> NoReturn:
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def kill(pid: int) -> None:
    """Kill a process that was started, at once, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def ask(question: Callable[[], Any], patience: float = 120.0) -> Any:
    """Answer a question in a process of its own, whose crash or hang is told and not ours.

    Raises:
        ChildError: What became of it.
    """
    reader, writer = os.pipe()

    def answer() -> None:
        os.close(reader)
        try:
            message = [True, question()]
        except Exception:
            message = [False, traceback.format_exc()]
        data = json.dumps(message).encode()
        while data:
            data = data[os.write(writer, data) :]

    pid = start(answer)
    os.close(writer)
    data, deadline = b"", time.monotonic() + patience
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    try:
        while True:
            if not poll.poll(1000 * max(0.0, deadline - time.monotonic())):
                kill(pid)
                raise ChildError(f"hung for {patience:.0f} s")
            part = os.read(reader, 1 << 20)
            if not part:
                break
            data += part
    finally:
        os.close(reader)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise ChildError(f"crashed with {signal.Signals(-code).name}" if code < 0 else f"exit status {code}")
    done, result = json.loads(data)
    if not done:
        raise ChildError(result)
    return result
