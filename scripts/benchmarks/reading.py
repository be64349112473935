"""What it costs to read: the best of many experiments, a list of them, a curve."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Bench, Raw, Row, random_metrics, silent

from crackseg_tracker import Catalog


def filled_catalog(bench: Bench, size: int, *, check: bool) -> tuple[Path, sqlite3.Connection]:
    """Make a catalog of finished experiments, and the same facts in tables made by hand."""
    path, points = bench.new_path(), 5
    tracker = bench.new_tracker(path)
    tracker.add_tags(["baseline", "fold-1"])
    tracker.log_metrics(random_metrics(0), 0)
    tracker.complete_experiment()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        numbers = range(2, size + 1)

        def copy_first(table: str, key: str, **changed: str) -> None:
            info = connection.execute(f"PRAGMA table_info({table})").fetchall()
            columns = [f'"{c[1]}"' for c in info if c[1] != "id" or key == "id"]
            changed[key] = "?1"
            values = ", ".join(changed.get(c.strip('"'), c) for c in columns)
            connection.executemany(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} WHERE {key} = 1",
                [(number,) for number in numbers],
            )

        unique = {c: f"{c} || '-' || ?1" for c in ("experiment_id", "uid", "directory")}
        copy_first("experiment", "id", **unique)
        copy_first("attempt", "experiment")
        mine = "(SELECT id FROM attempt WHERE experiment = ?1)"
        copy_first("status_change", "experiment", attempt=mine)
        copy_first("experiment_tag", "experiment")
        metrics = [n for (n,) in connection.execute("SELECT id FROM metric_name ORDER BY id")]
        series = [(e, m, [random.random() for _ in range(points)]) for e in numbers for m in metrics]
        connection.executemany(
            "INSERT INTO metric_summary (experiment, metric, count, non_finite_count, first_step, "
            "first_value, last_step, last_value, min_step, min_value, max_step, max_value, sealed) "
            "VALUES (?, ?, ?, 0, 0, ?, ?, ?, ?, ?, ?, ?, 1)",
            (
                (e, m, points, v[0], points - 1, v[-1], v.index(min(v)), min(v), v.index(max(v)), max(v))
                for e, m, v in series
            ),
        )
        connection.executemany(
            "INSERT INTO metric_point VALUES (?, ?, ?, ?, ?)",
            ((e, m, step, v, 1000 * step) for e, m, vs in series for step, v in enumerate(vs)),
        )
    connection.close()
    if check:
        with Catalog(path) as catalog:
            problems = catalog.check()
        if problems:
            raise SystemExit(f"the catalog that was filled for reading is not whole: {problems}")
    raw = Raw(bench.new_path()).connection
    raw.execute("ATTACH ? AS catalog", (str(path),))
    raw.execute(
        "CREATE TABLE run AS SELECT experiment_number, experiment_id, experiment_name, project, "
        '"group", status, description, current_epoch, total_epochs, training_time_seconds, '
        "error_message, created_at, started_at, completed_at, updated_at, experiment_dir, hostname, "
        "git_commit, config_sha256, uid FROM catalog.experiments"
    )
    raw.execute("CREATE TABLE tag AS SELECT experiment, tag FROM catalog.experiment_tag")
    raw.execute("CREATE TABLE param AS SELECT experiment, name, value FROM catalog.param")
    raw.execute("CREATE TABLE artifact AS SELECT experiment, artifact_id FROM catalog.artifact")
    raw.execute(
        "CREATE TABLE best AS SELECT metric, experiment_number, experiment_id, value, step FROM catalog.metric_bests"
    )
    raw.execute("CREATE INDEX best_by_value ON best (metric, value)")
    raw.execute("DETACH catalog")
    return path, raw


def reading(bench: Bench) -> Iterator[Row]:
    """The best ten, asked of `Catalog` and in SQL of the view; and a list of all experiments."""
    top = "experiment_id, value, step FROM {} WHERE metric = 'val/iou' ORDER BY value DESC LIMIT 10"
    for size in (5_000, bench.size(50_000, 10_000)):
        path, raw = filled_catalog(bench, size, check=size == 5_000)
        plain = sqlite3.connect(path)
        with Catalog(path) as catalog:
            found = bench.taking_turns(
                bench.size(301, 101),
                raw=silent(_fetch, raw, f"SELECT {top.format('best')}"),
                ours=silent(catalog.best, "val/iou"),
                view=silent(_fetch, plain, f"SELECT {top.format('metric_bests')}"),
            )
            yield Row(f"best 10 of {size:,}", found["raw"], found["ours"], "s", 0.0003, True)
            yield Row(f"best 10 of {size:,}, by SQL", found["raw"], found["view"], "s", 0.0001, True)
            if size == 5_000:
                sides = bench.taking_turns(
                    bench.size(15, 5),
                    raw=silent(
                        _fetch,
                        raw,
                        "SELECT * FROM run ORDER BY experiment_number",
                        "SELECT experiment, tag FROM tag",
                        "SELECT experiment_number, metric, value FROM best",
                        "SELECT experiment, name, value FROM param",
                        "SELECT experiment, count(*) FROM artifact GROUP BY experiment",
                    ),
                    ours=silent(catalog.experiments),
                )
                yield Row("5,000 experiments into a list", **sides, unit="s", bound=1.5)


def curve(bench: Bench) -> Iterator[Row]:
    """One curve of 100,000 points; raw has it alone in its table and need not sort."""
    steps, values = range(100_000), [random.random() for _ in range(100_000)]
    path = bench.new_path()
    tracker, raw = bench.new_tracker(path), Raw(bench.new_path())
    tracker.log_history("loss", steps, values)
    tracker.complete_experiment()
    raw.insert([(raw.experiment, "loss", s, v, 0.0) for s, v in zip(steps, values, strict=True)])
    query = f"SELECT experiment, name, step, value FROM point WHERE experiment = '{raw.experiment}'"
    with Catalog(path) as catalog:
        sides = bench.taking_turns(
            bench.size(21, 5),
            raw=silent(_fetch, raw.connection, f"{query} AND name = 'loss'"),
            ours=silent(catalog.history, "loss", tracker.experiment_id),
        )
    yield Row("one curve of 100,000 points", **sides, unit="s", bound=1.2)


def _fetch(connection: sqlite3.Connection, *queries: str) -> None:
    for query in queries:
        connection.execute(query).fetchall()
