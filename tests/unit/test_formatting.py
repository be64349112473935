import csv
import io
import json
import math
import re
import time
from datetime import UTC, datetime
from html.parser import HTMLParser
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackseg_tracker import formatting
from crackseg_tracker.formatting import FORMATS, as_csv, as_json, as_json_lines, as_latex, as_markdown, as_table, as_tsv

CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")
HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\x9b31m\r\n\x00"
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts | st.binary(max_size=5)
values = scalars | st.lists(scalars, max_size=3).map(tuple) | st.dictionaries(texts, scalars, max_size=3)


@st.composite
def tables(draw: st.DrawFn, cells: st.SearchStrategy[Any] = values) -> tuple[list[str], list[tuple[Any, ...]]]:
    columns = draw(st.lists(texts.filter(bool), min_size=1, max_size=4, unique=True))
    rows = draw(st.lists(st.tuples(*[cells] * len(columns)), max_size=6))
    return columns, rows


@given(tables(), st.integers(1, 120))
def test_no_format_lets_text_steer_the_terminal(table: tuple[list[str], list[tuple[Any, ...]]], width: int) -> None:
    for name, write in FORMATS.items():
        text = write(*table).replace("\t", "") if name in ("tsv", "csv") else write(*table)
        assert not CONTROLS.search(text), name
        text.encode()
    assert not CONTROLS.search(as_table(*table, width=width))


@pytest.mark.parametrize("name", FORMATS)
def test_hostile_names_are_shown(name: str) -> None:
    text = FORMATS[name]([HOSTILE, "n"], [(HOSTILE, 1), ({HOSTILE: (HOSTILE,)}, 2)])
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text.replace("\t", ""))
    assert "owned" in text


@given(tables(), st.integers(1, 120))
def test_a_table_is_as_wide_as_allowed(table: tuple[list[str], list[tuple[Any, ...]]], width: int) -> None:
    columns, rows = table
    lines = as_table(columns, rows, width=width).split("\n")
    if any(formatting.display_width(line) > width for line in lines):
        # Blocks: a line for each value, a blank one between rows.
        assert len(lines) == len(rows) * (len(columns) + 1) - 1
    assert len(as_table(columns, rows).split("\n")) == len(rows) + 1


def test_columns_are_aligned_by_display_width() -> None:
    text = as_table(["name", "iou", "note"], [("路面", 0.5, "x"), ("e\u0301te", 0.625, None), ("unet", None, "y")])
    assert text.split("\n") == [
        "name    iou  note",
        "路面  0.500  x",
        "e\u0301te   0.625",
        "unet         y",
    ]


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        ([0.5, 0.25, 2], ["0.50", "0.25", "2"]),
        ([1e-7, 1.5], ["1e-07", "1.5"]),
        ([math.nan, math.inf, 0.5], ["nan", "inf", "0.5"]),
        ([123456.0, 0.00123], ["123456.00000", "0.00123"]),
        ([1234567.5, 0.001234], ["1.23457e+06", "0.001234"]),
        ([None, 1.0], ["", "1"]),
        ([2**70], [str(2**70)]),
        (["a", 1.23456789], ["a", "1.23457"]),
        ([True, None], ["true", ""]),
        ([b"\x00\xff", ("a", 1)], ["x'00ff'", "a, 1"]),
        ([{"iou": 0.5, "n": {"x": None}}], ["iou=0.5, n=x="]),
        ([datetime(2026, 1, 2, tzinfo=UTC)], ["2026-01-02T00:00:00+00:00"]),
    ],
)
def test_values_for_eyes(column: list[Any], shown: list[str]) -> None:
    lines = as_table(["c"], [(value,) for value in column]).split("\n")[1:]
    assert [line.strip() for line in lines] == shown


def test_long_texts_are_cut_and_numbers_never() -> None:
    rows = [("20261124-105424-all-mlp-dice", "a description of some length, in words", 0.123456, 123456789)]
    wide = as_table(["id", "description", "iou", "count"], rows, width=60).split("\n")[1]
    assert len(wide) <= 60
    assert re.fullmatch(r"20\S*…\S*dice +a desc\S*.*… +0\.123456 +123456789", wide)
    narrow = as_table(["id", "description", "iou", "count"], rows, width=20)
    assert narrow.split("\n") == [
        "id           20261124-105424-all-mlp-dice",
        "description  a description of some length, in words",
        "iou          0.123456",
        "count        123456789",
    ]


def test_times_are_cut_as_little_as_numbers() -> None:
    rows = [("20261124-105424-all-mlp-dice", "val/iou=0.123456, val/dice=0.2", "2026-11-24T10:54:24.123456+00:00")]
    line = as_table(["id", "best", "created_at"], rows, width=50).split("\n")[1]
    assert len(line) <= 50
    assert line.endswith("  2026-11-24T10:54:24Z")


def test_headings_are_painted_and_lines_still_aligned() -> None:
    text = as_table(["id", "n"], [("a", 1), ("long", 22)], paint=lambda text, column: f"<{column}:{text}>")
    assert text.split("\n") == ["<None:id  >  <None: n>", "<id:a   >  <n: 1>", "<id:long>  <n:22>"]


@given(tables(st.none() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | texts))
def test_json_is_exact(table: tuple[list[str], list[tuple[Any, ...]]]) -> None:
    columns, rows = table
    wanted = [dict(zip(columns, row, strict=True)) for row in rows]
    named = {math.inf: "Infinity", -math.inf: "-Infinity"}
    wanted = [{k: named.get(v, v) if isinstance(v, float) else v for k, v in row.items()} for row in wanted]
    assert json.loads(as_json(columns, rows)) == wanted
    assert [json.loads(line) for line in as_json_lines(columns, rows).splitlines()] == wanted


def test_json_of_what_json_does_not_know() -> None:
    row = (math.nan, (math.inf, 1), MappingProxyType({"a": -math.inf}), b"\x01", {"x"}, datetime(2026, 1, 2))
    assert json.loads(as_json_lines(list("abcdef"), [row])) == {
        "a": "NaN",
        "b": ["Infinity", 1],
        "c": {"a": "-Infinity"},
        "d": "x'01'",
        "e": ["x"],
        "f": "2026-01-02T00:00:00",
    }
    assert json.loads(as_json(["a", "a"], [(1, 2)])) == [{"a": 1, "a:2": 2}]
    assert as_json(["a"], []) == "[]"
    assert as_json_lines(["a"], []) == ""


@given(tables(st.integers() | st.floats() | texts))
def test_csv_is_read_back(table: tuple[list[str], list[tuple[Any, ...]]]) -> None:
    columns, rows = table
    read = list(csv.reader(io.StringIO(as_csv(columns, rows), newline=""), strict=True))
    assert len(read) == len(rows) + 1
    for row, cells in zip(rows, read[1:], strict=True):
        for value, cell in zip(row, cells, strict=True):
            if not isinstance(value, str):
                assert type(value)(cell) == value or math.isnan(value)
            elif not CONTROLS.search(value.replace("\t", "")):
                assert cell.removeprefix("'") == value.removeprefix("'")


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "＝1+1"])  # noqa: RUF001
def test_formulas_are_text_in_csv(text: str) -> None:
    head, cell = list(csv.reader(io.StringIO(as_csv([text], [(text,)]), newline="")))
    assert head == cell == [f"'{text}"]


def test_numbers_stay_numbers_in_csv() -> None:
    assert as_csv(["a"], [(-0.5,), (-1,), ("-1.5",), (-math.inf,), (None,)]) == 'a\n-0.5\n-1\n-1.5\n-inf\n""\n'


def test_mappings_become_columns() -> None:
    columns, rows = ["id", "m", "t"], [("a", {"x": 1, "n": {"y": 2}}, ("p", "q")), ("b", {"z": 0.5}, ()), ("c", {}, ())]
    assert as_tsv(columns, rows).split("\n") == [
        "id\tm.x\tm.n.y\tm.z\tt",
        'a\t1\t2\t\t["p", "q"]',
        "b\t\t\t0.5\t[]",
        "c\t\t\t\t[]",
    ]
    assert as_csv(["m"], [({},), ({},)]) == "m\n{}\n{}\n"
    assert formatting.flattened(["a.b", "a"], [(1, {"b": 2})])[0] == ["a.b", "a.b:2"]


def test_tsv_has_one_line_a_row() -> None:
    text = as_tsv(["id", "note"], [("a", "x\ty\nz\r"), ("b", None)])
    assert text.split("\n") == ["id\tnote", "a\tx\\ty\\nz\\r", "b\t"]


def test_markdown_is_escaped() -> None:
    text = as_markdown(["n_o", "v"], [("<b>|`x`*y*_z_ $1$ [a](b) & snake_case", 1), (None, -0.5)])
    assert text.split("\n") == [
        "| n_o | v |",
        "| --- | --: |",
        r"| \<b>\|\`x\`\*y\*\_z\_ \$1\$ \[a\](b) \& snake_case | 1 |",
        "|  | -0.5 |",
    ]


def test_latex_is_escaped() -> None:
    lines = as_latex(["a_b", "v"], [(r"\input{x} 5% $ # & ~ ^ <", 1e-7), ("y", -2.5e-5)]).split("\n")
    assert lines[3] == r"a\_b & v \\"
    assert lines[5] == (
        r"\textbackslash{}input\{x\} 5\% \$ \# \& \textasciitilde{} \textasciicircum{} \textless{} & "
        r"$1 \times 10^{-7}$ \\"
    )
    assert lines[6] == r"y & $-2.5 \times 10^{-5}$ \\"


@given(tables())
def test_html_holds_the_text_and_no_markup_of_it(table: tuple[list[str], list[tuple[Any, ...]]]) -> None:
    found: dict[str, int] = {}

    class Counter(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            found[tag] = found.get(tag, 0) + 1

    columns, rows = table
    Counter().feed(formatting.as_html(columns, rows))
    cells = {"td": len(rows) * len(columns)} if rows else {}
    assert found == {"table": 1, "thead": 1, "tbody": 1, "tr": len(rows) + 1, "th": len(columns), **cells}


@pytest.mark.parametrize("name", FORMATS)
def test_ten_thousand_rows_take_well_under_a_second(name: str) -> None:
    rows = [
        (
            f"experiment-{i:05}",
            "unet",
            ("baseline", "b"),
            {"val/iou": i / 3e4, "loss": 1 / (i + 1)},
            i,
            "completed",
            None,
        )
        for i in range(10_000)
    ]
    started = time.process_time()
    FORMATS[name](["experiment_id", "name", "tags", "best_metrics", "epoch", "status", "error"], rows)
    assert time.process_time() - started < 1.5  # about 0.15 s on an idle machine; tests run on busy ones
