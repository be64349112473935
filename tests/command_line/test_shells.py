"""What real shells make of the completion: the words that a program gets after the Tab key."""

import os
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_line.calling import Maker

pty = pytest.importorskip("pty", reason="needs a terminal")

#: How each is started without anybody's settings, and what takes the completion in.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source {}"),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -D -u; source {}"),
    "fish": (["fish", "--no-config"], "source {}"),
}
TYPED = {
    "che": ["check"],
    "show unet-2": ["show", "unet-21"],
    "show @la": ["show", "@latest"],
    "show @best:val/": ["show", "@best:val/iou"],
    "best val/": ["best", "val/iou"],
    "best at:": ["best", "at:0.5=x"],
    "list --tag base": ["list", "--tag", "baseline"],
    "list --tag two": ["list", "--tag", "two words; $HOME *"],
    "list --tag=base": ["list", "--tag=baseline"],
    "list --tag=two": ["list", "--tag=two words; $HOME *"],
    "list --tag a,": ["list", "--tag", "a,b:c"],
    "list --tag=a,b:": ["list", "--tag=a,b:c"],
    "list --format=js": ["list", "--format=json"],
    "list --catalog=/etc/passw": ["list", "--catalog=/etc/passwd"],
    "best val/iou --stat": ["best", "val/iou", "--status"],
    "list --format  js": ["list", "--format", "json"],
    "schema metric_su": ["schema", "metric_summaries"],
    "show nobody": ["show", "nobody"],
    "merge /etc/passw": ["merge", "/etc/passwd"],
}


def fill(new_tracker: Maker) -> None:
    for name, tag in (("unet-1", "baseline"), ("unet-21", "two words; $HOME *"), ("seg", "a,b:c")):
        with new_tracker(name) as tracker:
            tracker.log_metrics({"val/iou": 0.5, "at:0.5=x": 1})
            tracker.add_tags([tag])


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes(shell: str, new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    fill(new_tracker)
    # The program as installed, except that it prints its words between marks.
    program = tmp_path / "bin" / "crackseg-tracker"
    program.parent.mkdir()
    run = f'exec "{sys.executable}" -m crackseg_tracker "$@"'
    show = 'for word in "$@"; do printf "<<%s>>" "$word"; done; echo "<<""END>>"'
    program.write_text(f'#!/bin/sh\nif [ -n "$_CRACKSEG_TRACKER_COMPLETE$SCRIPT" ]; then {run}; fi\n{show}\n')
    program.chmod(0o755)
    command, take_in = SHELLS[shell]
    script = tmp_path / "completion"
    environment = {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "CRACKSEG_TRACKER_CATALOG": str(catalog_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TERM": "dumb",
    }
    with script.open("wb") as stream:
        subprocess.run([program, "completion", shell], stdout=stream, env={**environment, "SCRIPT": "1"}, check=True)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, environment)
    try:
        os.write(terminal, f"{take_in.format(script)}; crackseg-tracker ready\r".encode())
        assert words(terminal) == ["ready"]
        for typed, completed in TYPED.items():
            os.write(terminal, f"crackseg-tracker {typed}\t".encode())
            time.sleep(0.1)  # a shell that is busy would take the end of the line as part of what is pasted
            os.write(terminal, b"\r")
            assert words(terminal) == completed
    finally:
        os.close(terminal)  # hangs up
        os.waitpid(pid, 0)


def words(terminal: int) -> list[str]:
    """What the program was given, once it has said so."""
    seen, deadline = b"", time.monotonic() + 30
    poll = select.poll()  # not `select`, which takes no descriptor beyond 1023: a process of many tests has those
    poll.register(terminal, select.POLLIN)
    while b"<<END>>" not in seen:
        assert time.monotonic() < deadline, seen
        if poll.poll(100):
            seen += os.read(terminal, 65536)
    return [word for word in re.findall(r"<<(.*?)>>", seen.decode()) if word != "END"]
