import csv
import json
import math
import sys
from pathlib import Path
from typing import Any

import pandas
import polars
import pytest

from crackseg_tracker import NotFoundError, Result
from crackseg_tracker.rows import PointRow

ROWS = [("a", ("x", "y"), {"val/iou": 0.5, "loss": math.nan}), ("b", (), {"val/iou": 0.75}), ("c", (), {})]


@pytest.fixture
def result() -> Result[Any]:
    return Result(("experiment_id", "tags", "best_metrics"), ROWS)


def test_pandas_spreads_mappings(result: Result[Any]) -> None:
    frame = result.to_pandas()
    assert list(frame.columns) == ["experiment_id", "tags", "best_metrics.val/iou", "best_metrics.loss"]
    assert frame["best_metrics.val/iou"].dtype == float
    assert frame["tags"][0] == ("x", "y")
    assert frame.shape == (3, 4)


def test_polars_spreads_mappings(result: Result[Any]) -> None:
    frame = result.to_polars()
    assert frame.columns == ["experiment_id", "tags", "best_metrics.val/iou", "best_metrics.loss"]
    assert frame.schema["tags"] == polars.List(polars.String)
    assert frame["best_metrics.val/iou"].to_list() == [0.5, 0.75, None]
    assert math.isnan(frame["best_metrics.loss"][0])


def test_frames_of_what_sql_may_give() -> None:
    rows = [(1, None, b"\x00", 2**40), ("two", 2.5, None, None), (0.5, 3, None, 1)]
    mixed = Result(["v", "v", "blob", "n"], rows)
    frame = mixed.to_polars()
    assert frame.columns == ["v", "v:2", "blob", "n"]
    assert frame["v"].to_list() == ["1", "two", "0.5"]
    assert frame["v:2"].to_list() == [None, 2.5, 3.0]
    assert frame["blob"].to_list() == [b"\x00", None, None]
    assert list(mixed.to_pandas()["v"]) == [1, "two", 0.5]
    assert mixed.dicts()[0] == {"v": 1, "v:2": None, "blob": b"\x00", "n": 2**40}
    empty = Result(["a", "b"], [])
    assert list(empty.to_pandas().columns) == empty.to_polars().columns == ["a", "b"]
    assert len(empty.to_pandas()) == len(empty.to_polars()) == 0


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_a_missing_library_names_the_extra(result: Result[Any], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'crackseg_tracker\[{name}\]'"):
        getattr(result, f"to_{name}")()


def test_files(result: Result[Any], tmp_path: Path) -> None:
    assert result.to_csv(tmp_path / "r.csv") is None
    with (tmp_path / "r.csv").open(newline="", encoding="utf-8") as stream:
        assert next(csv.DictReader(stream)) == {
            "experiment_id": "a",
            "tags": '["x", "y"]',
            "best_metrics.val/iou": "0.5",
            "best_metrics.loss": "nan",
        }
    assert result.to_json(str(tmp_path / "r.json")) is None
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))[0]["best_metrics"] == {
        "val/iou": 0.5,
        "loss": "NaN",
    }
    assert pandas.read_csv(tmp_path / "r.csv")["best_metrics.val/iou"][1] == 0.75
    assert result.to_csv() == (tmp_path / "r.csv").read_text(encoding="utf-8")


def test_documents(result: Result[Any]) -> None:
    assert result.to_markdown().startswith("| experiment_id | tags | best_metrics |\n")
    assert "\\toprule" in result.to_latex()
    assert "<td>a</td>" in result._repr_html_()  # pyright: ignore[reportPrivateUsage]


def test_what_a_notebook_and_a_terminal_show() -> None:
    result = Result(["n"], [(n,) for n in range(1234)])
    assert repr(result) == "<Result of 1,234 rows: n>"
    assert repr(result[:1]) == "<Result of 1 row: n>"
    assert str(result).split("\n")[0] == "   n".strip().rjust(2)
    assert str(result).endswith("\n19\n... 1,214 more rows")
    html = result._repr_html_()  # pyright: ignore[reportPrivateUsage]
    assert html.count("<tr>") == 51
    assert "1,184 more rows" in html


def test_columns_are_chosen(result: Result[Any]) -> None:
    chosen = result.select("best_metrics.val/iou", "experiment_id", "best_metrics")
    assert chosen.columns == ("best_metrics.val/iou", "experiment_id", "best_metrics")
    assert chosen.rows[1] == (0.75, "b", {"val/iou": 0.75})
    with pytest.raises(NotFoundError, match=r"no column 'iou'; there are experiment_id, .*best_metrics\.val/iou"):
        result.select("iou")
    empty = Result(["id", "best"], [])
    assert empty.select("best.iou").columns == ("best.iou",)
    with pytest.raises(NotFoundError):
        empty.select("worst")


def test_rows_are_sorted_by_columns() -> None:
    rows = [("a", 2, {"x": 1.0}), ("b", None, {}), ("c", 10, {"x": 2.0}), ("d", math.nan, {"x": 1.0}), ("e", "z", {})]
    result = Result(("id", "value", "best"), rows)

    def order(*columns: str) -> str:
        return "".join(row[0] for row in result.sorted_by(*columns))

    assert order("value") == "acebd", "numbers, then text, then what is missing"
    assert order("-value") == "ecabd"
    assert order("-best.x", "-id") == "cdaeb"
    assert order() == "abcde"
    with pytest.raises(NotFoundError, match="no column 'vlaue'; there are id, value, best"):
        result.sorted_by("vlaue")


def test_a_result_cannot_be_changed() -> None:
    result = Result(PointRow._fields, [("a", "iou", 0, 0.5), ("a", "iou", 1, 0.6)], PointRow._make)
    assert result[1:].rows == (PointRow("a", "iou", 1, 0.6),)
    assert result.rows[0].value == 0.5
    assert isinstance(result[0:1][0], PointRow)
    for name in ("columns", "rows", "other"):
        with pytest.raises(AttributeError):
            setattr(result, name, ())
