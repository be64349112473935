"""As a program: what it loads, what a terminal shows of it, and what pipes and Ctrl-C do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_line.calling import HEAVY, Maker, python, run
from crackseg_tracker.cli import COMMANDS
from crackseg_tracker.store.integrity import PROOFS

RUN = "from crackseg_tracker.cli import main; main()"
#: The same, with a progress line for each step that is done, however fast.
EAGER = f"from crackseg_tracker.cli import asking; asking._REDRAW_EVERY = asking._LINE_EVERY = 0; {RUN}"


def terminal(columns: int, *arguments: str, code: str = RUN, **environment: str) -> str:
    """What a terminal of so many columns shows."""
    import pty

    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "", **environment},
        close_fds=True,
    ) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            shown += part
        os.close(leader)
    assert process.returncode == 0
    return shown.decode().replace("\r\n", "\n")


def test_help_loads_nothing_heavy() -> None:
    """Of any command: what a shell's user waits for is the interpreter and click."""
    commands = [name for commands in COMMANDS.values() for name in commands]
    code = (
        "import sys\nfrom crackseg_tracker.cli import cli\n"
        f"for words in ['--help'], ['--version'], ['completion', 'fish'], *([one, '--help'] for one in {commands}):\n"
        " try: cli.main(words)\n except SystemExit: pass\n"
        f"loaded = [m for m in {(*HEAVY, 'sqlite3')!r} if m in sys.modules]\nassert not loaded, loaded"
    )
    done = python("-c", code)
    assert done.stderr == ""
    assert done.stdout.count("Usage: ") == 1 + len(commands)


def test_a_pipe_that_closes_is_no_error(catalog: Path) -> None:
    numbers = "WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT 200000) SELECT value FROM n"
    with subprocess.Popen(
        [sys.executable, "-m", "crackseg_tracker", "sql", numbers],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "value\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_ctrl_c_is_130(catalog: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    code = (
        "import signal, sys, threading\nfrom crackseg_tracker.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job inherits that it is ignored
        "threading.Timer(1, signal.raise_signal, [signal.SIGINT]).start()\n"
        f"sys.argv = ['crackseg-tracker', 'sql', {endless!r}]\nmain()"
    )
    done = python("-c", code)
    assert done.returncode == 130
    assert done.stderr.strip() == "interrupted"


def test_a_terminal_gets_a_table_in_colour_that_fits(catalog: Path) -> None:
    shown = terminal(80, "list")
    assert "\x1b[1mexperiment_id" in shown
    assert "\x1b[32mcompleted" in shown
    bare = terminal(80, "list", NO_COLOR="1")
    assert "\x1b" not in bare
    assert bare.split()[:2] == ["experiment_id", "status"]
    assert max(map(len, bare.splitlines())) <= 80
    assert "\x1b" not in terminal(80, "list", TERM="dumb")


def test_a_terminal_of_20_columns_gets_a_line_for_each_value(catalog: Path) -> None:
    shown = terminal(20, "best", "val/iou", NO_COLOR="1")
    assert "experiment_id    unet-2\n" in shown
    assert "value            0.750\n" in shown


def test_ids_are_cut_last_for_they_are_what_one_types_next(own_catalog: Path, new_tracker: Maker) -> None:
    long = "20251124-105424-unet-efficientnet-b2-sweep-00017"
    with new_tracker(long) as tracker:
        tracker.log_metrics({f"val/iou_of_class_{number}": 0.5 for number in range(9)})
    [_, *rows] = terminal(100, "list", "--id", "2025*", NO_COLOR="1").splitlines()
    assert rows[0].startswith(f"{long}  completed  ")
    assert len(rows[0]) <= 100
    assert "…" in rows[0]


@pytest.fixture
def long_work(own_catalog: Path, new_tracker: Maker, tmp_path: Path) -> dict[str, list[str]]:
    """By what is shown meanwhile, the commands that may take long."""
    for number in range(3):
        with new_tracker(f"old-{number}") as tracker:
            (tmp_path / f"{number}.pth").write_bytes(b"weights")
            tracker.add_artifact("model", "checkpoint", tmp_path / f"{number}.pth")
    run("delete", "old-0", "--yes")
    return {
        "verifying: 1 of 2 artifacts": ["verify", "--experiment", "old-1", "--experiment", "old-2", "--full"],
        "exporting: 1 of 2 experiments": ["export", str(tmp_path / "part.db"), "--id", "old-*"],
        "merging: 2 of 2 experiments": ["merge", str(tmp_path / "part.db")],
        f"backing up: 1 of {PROOFS + 1} steps": ["backup", str(tmp_path / "copy.db")],
        f"checking: {PROOFS - 1} of {PROOFS} proofs": ["check"],
        "purging: 0 of 1 experiments": ["purge", "--yes"],
    }


def test_long_work_draws_one_line_anew_on_a_terminal(long_work: dict[str, list[str]]) -> None:
    for told, arguments in long_work.items():
        shown = terminal(80, *arguments, code=EAGER)
        head, *drawn = shown.split("\r")
        assert head == ""
        assert told in map(str.strip, drawn)
        assert drawn[-2].strip() == "", "the line is taken away"
        assert drawn[-1] == "" or drawn[-1].endswith("\n")
        assert not any("\n" in line for line in drawn[:-1])
        narrow = terminal(20, *arguments, code=EAGER) if arguments[0] in ("verify", "check") else ""
        assert all(len(line) < 20 for line in narrow.split("\r")[:-1])


def test_long_work_tells_a_line_now_and_then_elsewhere(long_work: dict[str, list[str]]) -> None:
    for told, arguments in long_work.items():
        done = python("-c", EAGER, *arguments)
        assert done.returncode == 0
        assert told in done.stderr.splitlines()
        assert "\r" not in done.stderr
        assert "ing: " not in done.stdout


def test_quick_work_tells_no_progress_elsewhere(catalog: Path) -> None:
    assert python("-m", "crackseg_tracker", "check").stderr == f"{catalog}: no problems\n"
