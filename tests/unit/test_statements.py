"""The statements of the metrics' path are what SQLAlchemy compiles from the SQLModel tables.

They are written out in `store`, so that a training on a catalog that exists does not wait for SQLAlchemy to load.
"""

import re
from typing import Any, cast

import pytest
from sqlalchemy import Table, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert

from crackseg_tracker.schema.tables import MetricPoint, MetricRecent, MetricSummary
from crackseg_tracker.store.appending import _append_sql as append_sql  # pyright: ignore[reportPrivateUsage]
from crackseg_tracker.store.metrics import _insert_sql as insert_sql  # pyright: ignore[reportPrivateUsage]
from crackseg_tracker.store.summaries import _READ as read  # pyright: ignore[reportPrivateUsage]
from crackseg_tracker.store.summaries import _WRITE as write  # pyright: ignore[reportPrivateUsage]
from crackseg_tracker.store.summaries import Summary


def table_of(model: Any) -> Table:
    return cast(Table, model.__table__)


POINT, RECENT, SUMMARY = map(table_of, (MetricPoint, MetricRecent, MetricSummary))


def compiled(statement: Any) -> str:
    return " ".join(str(statement.compile(dialect=sqlite.dialect())).replace("metric_summary.", "").split())


def unnumbered(sql: str) -> str:
    return re.sub(r"\?\d+", "?", sql)


@pytest.mark.parametrize("count", [1, 2, 128])
@pytest.mark.parametrize("overwriting", [False, True])
def test_points_are_inserted_as_compiled(count: int, overwriting: bool) -> None:
    statement = insert(POINT).values([dict.fromkeys(POINT.columns.keys())] * count)
    if overwriting:
        new = statement.excluded
        statement = statement.on_conflict_do_update(set_={"value": new.value, "offset_ms": new.offset_ms})
    assert unnumbered(insert_sql(count, overwriting)) == compiled(statement)


def test_points_are_appended_to_all_columns() -> None:
    head, _ = compiled(insert(RECENT)).split(" VALUES ")
    assert append_sql(3).startswith(f"{head} SELECT ")


def test_summaries_are_read_as_compiled() -> None:
    columns = [SUMMARY.columns[field] for field in Summary._fields]
    ours = (SUMMARY.columns.experiment == 1) & (SUMMARY.columns.metric == 1)
    assert read == compiled(select(*columns).where(ours))


def test_summaries_are_written_as_compiled() -> None:
    fields = [*Summary._fields, "sealed"]
    statement = insert(SUMMARY).values(dict.fromkeys(["experiment", "metric", *fields]))
    wanted = statement.on_conflict_do_update(set_={field: statement.excluded[field] for field in fields})
    assert write.replace(", 0)", ", ?)") == compiled(wanted)
