"""A series summed up in Python, by SQL, or in two parts is the same."""

import math
import struct
from collections.abc import Iterator
from contextlib import closing
from sqlite3 import Connection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackseg_tracker.store import summaries
from crackseg_tracker.store.integrity import declared_connection
from crackseg_tracker.store.summaries import Summary

# Few values, so that extremes tie; both zeros and all that is not finite among them.
VALUES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan])
SERIES = st.dictionaries(st.integers(0, 2**63 - 1), VALUES).map(lambda series: sorted(series.items()))


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    with closing(declared_connection()) as connection:
        yield connection


def summed_up(series: list[tuple[int, float]]) -> Summary:
    return summaries.of_points([step for step, _ in series], [value for _, value in series])


def exact(summary: Summary) -> list[int | bytes | None]:
    """Give the bits of its values; NaN, which is NULL in the file, is None."""
    return [
        (None if math.isnan(field) else struct.pack("<d", field)) if isinstance(field, float) else field
        for field in summary
    ]


@given(series=SERIES)
def test_python_and_sql_agree(connection: Connection, series: list[tuple[int, float]]) -> None:
    connection.execute("BEGIN")
    rows = [(step, value, other) for step, value in series for other in (1, 2, 3)]
    connection.executemany("INSERT INTO metric_point VALUES (2, ?3, ?1, ?2, 0)", rows)
    found = summaries.of_file(connection, 2, 2)
    connection.execute("ROLLBACK")
    assert exact(found) == exact(summed_up(series))


@given(series=SERIES, cut=st.integers(0, 20))
def test_a_summary_followed_by_the_rest_is_that_of_the_whole(series: list[tuple[int, float]], cut: int) -> None:
    assert exact(summed_up(series[:cut]).followed_by(summed_up(series[cut:]))) == exact(summed_up(series))


@given(series=SERIES.filter(bool), data=st.data())
def test_a_point_that_moves_nothing_moves_nothing(series: list[tuple[int, float]], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(series) - 1))
    step, before = series[place]
    after = data.draw(VALUES)
    whole = summed_up(series)
    if whole.is_unmoved_by(step, before, after):
        series[place] = (step, after)
        assert exact(summed_up(series)) == exact(whole)
