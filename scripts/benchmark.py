"""Measure crackseg_tracker against raw `sqlite3` doing the same work in the same run.

    python scripts/benchmark.py                         the whole table, on stdout as Markdown
    python scripts/benchmark.py --quick                 fewer repetitions, smaller catalogs
    python scripts/benchmark.py --only calls bulk       some of it (the names are in --help)
    python scripts/benchmark.py --peer-python mlflow=/venvs/mlflow/bin/python

"Raw" is a table with a row per point, (experiment TEXT, name TEXT, step INTEGER, value REAL, time REAL), in WAL mode
with synchronous=NORMAL, one explicit transaction per call, and no summaries. Ours and raw take turns in blocks, so
that both see the same machine; a figure is the median over the repetitions, or over the calls where there is one (a
training with pauses, a crowd). Set TMPDIR to choose the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import crowds, lives, questions, reading, writing
from benchmarks.harness import Bench, Row
from benchmarks.peers import PEERS, peer
from benchmarks.table import markdown

BENCHMARKS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    one.__name__: one
    for one in (
        *(writing.calls, writing.training, writing.buffered),
        *(crowds.processes, crowds.crowd),
        *(writing.bulk, writing.disk, writing.experiments),
        *(reading.reading, reading.curve, lives.lives),
        *(questions.questions, questions.buckets),
    )
}


def machine() -> dict[str, Any]:
    """Tell what the figures were taken on."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "load_before": load,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "folder": tempfile.gettempdir(),
    }


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, smaller catalogs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table, not on stdout")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, metavar="NAME", default=[],
                        help=f"of {', '.join(BENCHMARKS)}")  # fmt: skip
    parser.add_argument("--peer-python", nargs="+", action="extend", metavar="NAME=PATH", default=[],
                        help=f"the interpreter that has a peer: {', '.join(PEERS)}")  # fmt: skip
    options = parser.parse_args(arguments)
    options.peers = dict(text.partition("=")[::2] for text in options.peer_python)
    for name, path in options.peers.items():
        if name not in PEERS or not path:
            parser.error(f"--peer-python {name}={path}: give NAME=PATH with one of {list(PEERS)}")
    for file in (options.json, options.markdown):
        if file and not file.parent.is_dir():
            parser.error(f"{file} cannot be written: make its folder first")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    facts, named, peers = machine(), {}, []
    begin = time.perf_counter()
    # Removed when all is done: a file system may be slow to make files for minutes after many were deleted (ext4
    # without a journal, for one).
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:

        def measured(name: str, work: Callable[[Bench], Iterable[Row]]) -> list[Row]:
            start = time.perf_counter()
            print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
            own = Path(folder, name)
            own.mkdir()
            rows = list(work(Bench(own, quick=options.quick)))
            print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr)
            return rows

        for name, work in BENCHMARKS.items():
            if name in (options.only or BENCHMARKS):
                named[name] = measured(name, work)
        for name, path in options.peers.items():
            try:
                peers += measured(f"peer-{name}", lambda bench, name=name, path=path: [peer(bench, name, path)])
            except (OSError, subprocess.SubprocessError, ValueError) as error:
                print(f"not measured: {path} could not run it ({type(error).__name__})", file=sys.stderr)
    rows = [row for found in named.values() for row in found]
    missed = [row.work for row in rows if row.is_met is False]
    total = time.perf_counter() - begin
    print(f"{total:.0f} s in all; beyond the bound: {missed or 'none'}", file=sys.stderr)
    if options.json:
        figures = [
            {"name": name, **row._asdict(), "ratio": row.ratio, "is_met": row.is_met}
            for name, found in [*named.items(), ("peers", peers)]
            for row in found
        ]
        facts |= {"quick": options.quick, "seconds": total}
        options.json.write_text(json.dumps({"machine": facts, "rows": figures}, indent=1) + "\n")
    tables = markdown(rows, peers)
    if options.markdown:
        options.markdown.write_text(tables)
    else:
        print(tables, end="")


if __name__ == "__main__":
    main()
