"""The questions of the benchmark: on a catalog filled by `fill_catalog`, against SQL written by hand on the same file.

10,000 experiments, 20 params, 10 metrics x 1,000 steps for a tenth of them (10 million points), 5 artifacts and 3 tags
each. The hand-written side fetches the same facts through the standard library's `sqlite3` and makes nothing of them:
no rows of ours, no mappings.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.harness import Bench, Row, silent
from fill_catalog import Size, fill

from crackseg_tracker import Catalog, metric

EXPERIMENT = """
SELECT e.id, e.experiment_id, e.experiment_name, e.project, e."group", e.status, e.description, e.current_epoch,
  e.total_epochs, e.training_time_seconds, e.error_message, e.created_at, e.started_at, e.completed_at, e.updated_at,
  e.experiment_dir, v.hostname, v.git_commit, c.sha256, e.uid,
  (SELECT count(*) FROM artifact AS a WHERE a.experiment = e.id)
FROM experiment AS e JOIN config AS c ON c.id = e.config LEFT JOIN environment AS v ON v.id = e.environment
WHERE e.deleted_at IS NULL"""
BESIDE = (
    "SELECT experiment, tag FROM experiment_tag",
    "SELECT experiment, name, value FROM param",
    "SELECT s.experiment, n.name, CASE n.mode WHEN 'max' THEN s.best_max ELSE s.best_min END FROM metric_summary AS s "
    "JOIN metric_name AS n ON n.id = s.metric",
)
LISTING = f"""{EXPERIMENT}
  AND e.id IN (SELECT experiment FROM experiment_tag WHERE tag = 'paper')
  AND e.id IN (SELECT experiment FROM param WHERE name = 'model.encoder' AND value = 'swin-tiny')
  AND e.id IN (SELECT s.experiment FROM metric_summary AS s JOIN metric_name AS n ON n.id = s.metric
               WHERE n.name = 'val/iou' AND s.sealed = 1 AND s.best_max > 0.7)
ORDER BY e.id LIMIT 100"""
ARTIFACTS = """
SELECT e.experiment_id, a.artifact_id, a.artifact_type, a.path, a.description, a.kind, a.size_bytes, a.file_count,
  a.sha256, a.digest_state, a.created_at, a.updated_at, a.absolute_path,
  (SELECT json_group_array(tag) FROM artifact_tag AS t WHERE t.artifact = a.id)
FROM artifact_tag AS b JOIN artifact AS a ON a.id = b.artifact JOIN experiment AS e ON e.id = a.experiment
WHERE b.tag = 'best' AND a.artifact_type = 'checkpoint' AND e.deleted_at IS NULL ORDER BY a.id LIMIT 100"""
BEST = """
SELECT e.experiment_id, e.experiment_name, s.best_max AS value,
  CASE WHEN s.best_max = s.max_value THEN s.max_step ELSE s.reported_step END,
  CASE WHEN s.best_max = s.max_value THEN 'logged' ELSE 'reported' END, n.mode, e.status, e.project, n.name
FROM metric_name AS n JOIN metric_summary AS s ON s.metric = n.id JOIN experiment AS e ON e.id = s.experiment
WHERE n.name = 'val/iou' AND s.sealed = 1 AND s.best_max IS NOT NULL AND e.deleted_at IS NULL
ORDER BY value DESC LIMIT 10"""
BEST_OF_RUNNING = """
SELECT e.experiment_id, e.experiment_name, s.max_step, s.max_value, s.reported_step, s.reported_value, r.step, r.value,
  n.mode, e.status, e.project, n.name
FROM metric_name AS n JOIN metric_summary AS s ON s.metric = n.id JOIN experiment AS e ON e.id = s.experiment
LEFT JOIN metric_recent AS r ON r.experiment = s.experiment AND r.metric = s.metric
WHERE n.name = 'val/iou' AND s.sealed = 0 AND e.deleted_at IS NULL"""
COMPARED = (
    f"{EXPERIMENT} AND e.id IN ({{0}})",
    "SELECT experiment, tag FROM experiment_tag WHERE experiment IN ({0})",
    "SELECT experiment, name, type, text FROM param WHERE experiment IN ({0}) AND name IN (SELECT name FROM param "
    "WHERE experiment IN ({0}) GROUP BY name HAVING count(DISTINCT text) > 1 OR count(*) < 10)",
    "SELECT s.experiment, n.name, n.mode, s.best_max, s.best_min, s.last_value FROM metric_summary AS s "
    "JOIN metric_name AS n ON n.id = s.metric WHERE s.experiment IN ({0})",
    "SELECT experiment, artifact_id, artifact_type, path FROM artifact WHERE experiment IN ({0}) ORDER BY id",
)


def questions(bench: Bench) -> Iterator[Row]:
    """What is asked across 10,000 experiments, and whether it grows with the answer or with the catalog."""
    large, small = bench.size(10_000, 2_000), bench.size(1_000, 200)
    paths = {}
    for count in (small, large):
        paths[count] = bench.new_path()
        fill(paths[count], Size(experiments=count, params=20, metrics=10, steps=bench.size(1_000, 50)))
    raw = sqlite3.connect(paths[large])
    with Catalog(paths[large]) as catalog, Catalog(paths[small]) as other:
        asked = _questions(catalog)
        few = bench.size(51, 21)
        for work, (by_hand, ours) in asked.items():
            sides = bench.taking_turns(few, raw=silent(by_hand, raw), ours=silent(ours, catalog))
            yield Row(f"{work} of {large:,}", **sides, unit="s", bound=2.0)
        for work, ours in GROWING.items():
            sides = bench.taking_turns(few, raw=silent(ours, other), ours=silent(ours, catalog))
            yield Row(f"{work}: {large:,} experiments (raw: ours of {small:,})", **sides, unit="s", bound=2.0)
        some = bench.size(7, 3)
        sides = bench.taking_turns(
            some, raw=silent(_everything, raw), ours=silent(lambda c: list(c.experiments()), catalog)
        )
        yield Row(f"{large:,} experiments into rows", **sides, unit="s", bound=1.5)
        sides = bench.taking_turns(
            some, raw=silent(_frames, raw), ours=silent(lambda c: c.experiments().to_pandas(), catalog)
        )
        yield Row(f"{large:,} experiments into pandas (raw: read_sql)", **sides, unit="s", bound=1.5)
    raw.close()


#: Questions that both catalogs answer with as many rows.
GROWING: dict[str, Callable[[Any], object]] = {
    "best 10": lambda c: c.best("val/iou"),
    "10 by tag, param and metric": lambda c: c.experiments(
        tags="paper", params={"model.encoder": "swin-tiny"}, where=metric("val/iou") > 0.7, limit=10
    ),
    "10 artifacts by type and tag": lambda c: c.artifacts("checkpoint", tags="best", limit=10),
}


def _questions(catalog: Catalog) -> dict[str, tuple[Callable[[Any], object], Callable[[Any], object]]]:
    """Give each question by hand and by the library."""
    ids = [row.experiment_id for row in catalog.best("val/iou", limit=10)]
    numbers = catalog.sql(
        "SELECT experiment_number FROM experiments WHERE experiment_id IN (SELECT value FROM json_each(?))",
        [json.dumps(ids)],
    )
    marks = ", ".join(str(number) for (number,) in numbers)
    compared = [sql.format(marks) for sql in COMPARED]
    return {
        "best 10": (
            lambda raw: [raw.execute(sql).fetchall() for sql in (BEST, BEST_OF_RUNNING)],
            lambda c: c.best("val/iou"),
        ),
        "100 by tag, param and metric": (
            _listing,
            lambda c: c.experiments(
                tags="paper", params={"model.encoder": "swin-tiny"}, where=metric("val/iou") > 0.7, limit=100
            ),
        ),
        "100 artifacts by type and tag": (
            lambda raw: raw.execute(ARTIFACTS).fetchall(),
            lambda c: c.artifacts("checkpoint", tags="best", limit=100),
        ),
        "compare 10": (
            lambda raw: [raw.execute(sql).fetchall() for sql in compared],
            lambda c: c.compare(ids),
        ),
    }


def _listing(raw: sqlite3.Connection) -> list[list[Any]]:
    found = raw.execute(LISTING).fetchall()
    marks = ", ".join(str(row[0]) for row in found)
    return [found, *(raw.execute(f"{sql} WHERE experiment IN ({marks})").fetchall() for sql in BESIDE)]


def _everything(raw: sqlite3.Connection) -> list[list[Any]]:
    return [raw.execute(sql).fetchall() for sql in (EXPERIMENT, *BESIDE)]


def _frames(raw: sqlite3.Connection) -> object:
    import pandas

    return [pandas.read_sql(sql, raw) for sql in (EXPERIMENT, *BESIDE)]


def buckets(bench: Bench) -> Iterator[Row]:
    """One curve of a million points, reduced to a thousand buckets."""
    steps = bench.size(1_000_000, 200_000)
    path = bench.new_path()
    tracker = bench.new_tracker(path)
    tracker.log_history("loss", range(steps), [1 / (step + 1) for step in range(steps)])
    tracker.complete_experiment()
    raw = sqlite3.connect(path)
    by_hand = (
        "SELECT step * 1000 / ? AS bucket, count(*), min(step), max(step), min(value), max(value), avg(value) "
        "FROM metric_point WHERE experiment = 1 AND metric = 1 GROUP BY bucket"
    )
    with Catalog(path) as catalog:
        sides = bench.taking_turns(
            bench.size(9, 3),
            raw=silent(lambda c: c.execute(by_hand, (steps,)).fetchall(), raw),
            ours=silent(lambda c: c.history("loss", tracker.experiment_id, points=1000), catalog),
        )
    raw.close()
    yield Row(f"{steps:,} points to 1,000 buckets", **sides, unit="s", bound=1.5)
