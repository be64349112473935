"""The SQL of a report's tables, over the documented views.

Each statement is complete: pasted into the sqlite3 shell on the catalog, it gives the table that it stands beneath. So
values are written into it, not bound; the experiments by their numbers, which are short and cannot steer a terminal.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import groupby

from crackseg_tracker.formatting import neutral


def literal(text: str) -> str:
    r"""Write a text as SQL; what could steer a terminal, or break the line that is pasted, by its code.

    Example:
        >>> literal("val/iou"), literal("it's"), literal("a\x1b")
        ("'val/iou'", "'it''s'", "'a' || char(27)")
    """
    if len(text) > 100 and not text.isprintable():  # char() takes 127 arguments, and || as a row 1,000 parts
        return f"CAST(X'{text.encode().hex()}' AS TEXT)"
    parts: list[str] = []
    for is_printable, characters in groupby(text, str.isprintable):
        part = "".join(characters)
        parts.append(_quoted(part, "'") if is_printable else f"char({', '.join(str(ord(one)) for one in part)})")
    return " || ".join(parts) or "''"


def _quoted(text: str, mark: str) -> str:
    return mark + text.replace(mark, mark * 2) + mark


def chosen(numbers: Sequence[int]) -> str:
    """Name the experiments of the report, for all statements that go on after it.

    Example:
        >>> chosen([4, 5, 6])
        'WITH chosen AS (SELECT experiment_id FROM experiments WHERE experiment_number BETWEEN 4 AND 6)'
    """
    condition = f"IN ({', '.join(map(str, numbers))})"
    if numbers and len(numbers) == max(numbers) - min(numbers) + 1:
        condition = f"BETWEEN {min(numbers)} AND {max(numbers)}"
    # A terminal takes lines of some 4,000 characters, not of a thousand numbers.
    return textwrap.fill(
        f"WITH chosen AS (SELECT experiment_id FROM experiments WHERE experiment_number {condition})", 110
    )


_OF_CHOSEN = "experiment_id IN (SELECT experiment_id FROM chosen)"

SUMMARY = f"""SELECT status, count(*) AS experiments, round(sum(training_time_seconds) / 3600.0, 2) AS training_hours,
  min(created_at) AS first_created_at, max(created_at) AS last_created_at
FROM experiments WHERE {_OF_CHOSEN}
GROUP BY status ORDER BY experiments DESC, status"""

# The last line of a traceback names the exception: what is before the last line break is taken away.
FAILURES = f"""SELECT experiment_id, status, epoch, replace(text, rtrim(text, replace(text, char(10), '')), '') AS error
FROM (SELECT experiment_id, status, current_epoch AS epoch, rtrim(error_message, char(10)) AS text
  FROM experiments WHERE status IN ('failed', 'aborted') AND {_OF_CHOSEN}
  ORDER BY experiment_number DESC LIMIT 50)"""

ENVIRONMENT = f"""SELECT hostname, python_version, pytorch_version, cuda_version, git_branch,
  substr(git_commit, 1, 10) AS git_commit, git_dirty, count(*) AS experiments
FROM experiments WHERE {_OF_CHOSEN}
GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY experiments DESC, 1, 6 LIMIT 50"""

ARTIFACTS = f"""SELECT artifact_type, count(*) AS artifacts, sum(size_bytes) AS size_bytes,
  sum(digest_state = 'missing') AS missing
FROM artifacts WHERE {_OF_CHOSEN}
GROUP BY artifact_type ORDER BY artifacts DESC, artifact_type"""

PICTURES = f"""SELECT experiment_id, artifact_id, absolute_path FROM artifacts
WHERE kind <> 'folder' AND {_OF_CHOSEN} ORDER BY artifact_number DESC"""

#: What most of the experiments have; of those one that was logged, not of the training split, and to be maximised.
COMMONEST_METRIC = f"""SELECT metric FROM (SELECT metric, mode, (SELECT count(*) FROM metric_bests AS b
    WHERE b.metric = n.metric AND {_OF_CHOSEN}) AS experiments FROM metric_names AS n)
WHERE experiments > 0
ORDER BY experiments DESC, metric IN (SELECT metric FROM metric_summaries WHERE {_OF_CHOSEN}) DESC,
  metric GLOB 'train*', mode <> 'max', metric LIMIT 1"""


def leaderboard(metric: str, mode: str) -> str:
    """Rank by a metric."""
    order = "DESC" if mode == "max" else "ASC"
    return f"""SELECT rank() OVER (ORDER BY value {order}) AS rank, experiment_id, experiment_name, value, step,
  source, status
FROM metric_bests WHERE metric = {literal(metric)} AND {_OF_CHOSEN}
ORDER BY value {order}, experiment_number LIMIT 50"""


def influences(metric: str, mode: str) -> str:
    """Give eta squared of each param: the variance between the means of its values, of all the variance of a metric.

    ``adjusted`` takes away what chance alone would account for, with so many values and so few experiments (omega
    squared, Hays 1963). A param that has another value in almost every experiment tells nothing, and is left out.
    """
    order = "DESC" if mode == "max" else "ASC"
    # d is the distance from the mean of all: squares of the values themselves would cancel each other out.
    return f""",
measured AS (SELECT experiment_id, value AS y, value - avg(value) OVER () AS d
  FROM metric_bests WHERE metric = {literal(metric)} AND abs(value) < 9e999 AND {_OF_CHOSEN}),
choices AS (SELECT name AS param, count(*) AS n, sum(d) AS s, sum(d * d) AS q, min(y) AS low, max(y) AS high,
    avg(y) AS mean, CASE WHEN type IN ('int', 'float') THEN coalesce(value, text) ELSE text END AS choice
  FROM measured JOIN params USING (experiment_id) GROUP BY param, choice),
totals AS (SELECT param, count(*) AS k, sum(n) AS n, sum(q) - sum(s) * sum(s) / sum(n) AS total,
    sum(s * s / n) - sum(s) * sum(s) / sum(n) AS between_means
  FROM choices GROUP BY param HAVING k BETWEEN 2 AND sum(n) / 2 AND sum(n) >= 4 AND min(low) < max(high)),
shares AS (SELECT *, max(total - between_means, 0) / (n - k) AS within FROM totals),
ranked AS (SELECT *, max((between_means - (k - 1) * within) / (total + within), 0) AS adjusted FROM shares
  ORDER BY adjusted DESC, param LIMIT 15)
SELECT param, k AS "values", n AS experiments, round(min(between_means / total, 1), 3) AS share,
  round(adjusted, 3) AS adjusted,
  (SELECT group_concat(CASE typeof(choice) WHEN 'real' THEN printf('%.6g', choice) ELSE choice END || ': '
      || printf('%.3g', mean) || ' (n=' || n || ')', ', ')
    FROM (SELECT * FROM choices WHERE param = ranked.param ORDER BY mean {order}, choice LIMIT 6))
  || CASE WHEN k > 6 THEN ', ' || (k - 6) || ' more' ELSE '' END AS means
FROM ranked ORDER BY ranked.adjusted DESC, param"""


def config_differences(ids: Sequence[str]) -> str:
    """Put the params that differ between experiments side by side; equal are those of the same type and text."""
    columns = ",\n  ".join(
        f"max(CASE experiment_id WHEN {literal(one)} THEN text END) AS {_quoted(neutral(one), chr(34))}" for one in ids
    )
    these = ",\n  ".join(map(literal, ids))
    return f"""SELECT name AS param,
  {columns}
FROM params WHERE experiment_id IN (
  {these})
GROUP BY name HAVING count(*) < {len(ids)} OR count(DISTINCT type || ':' || text) > 1 ORDER BY name"""
