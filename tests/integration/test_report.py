"""A report says what the catalog says, escaped, in one file that asks nobody for anything."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from crackseg_tracker import Catalog, ExperimentTracker, NotFoundError
from crackseg_tracker.report import as_html, as_latex, as_markdown, collect

Maker = Callable[..., ExperimentTracker]
HOSTILE = "<script>alert(1)</script>\x1b[31m\"'&$_%"


def picture(path: Path, colour: str = "red") -> Path:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (640, 480), colour).save(path)
    return path


@pytest.fixture
def catalog(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> Iterator[Catalog]:
    """Six experiments: two encoders, three seeds; one failed; one has a hostile name; two have pictures."""
    for index in range(6):
        encoder, seed = ("r34", "r50")[index % 2], index // 2
        config = {"model": {"encoder": encoder}, "seed": seed, HOSTILE: index % 2}
        tracker = new_tracker(
            f"e{index}" if index else HOSTILE, experiment_name=HOSTILE, project=HOSTILE, config=config
        )
        tracker.start_experiment()
        for step in range(4):
            tracker.log_metrics(
                {"val/iou": 0.5 + 0.2 * (index % 2) + 0.01 * seed + 0.01 * step, "loss": 1 / (1 + step)}, step
            )
        if index < 2:
            tracker.add_artifact("prediction", "visualization", picture(tmp_path / f"p{index}.png"))
        if index == 5:
            tracker.fail_experiment(HOSTILE)
        else:
            tracker.complete_experiment()
    tracker.add_artifact("broken", "visualization", tmp_path / "broken.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no picture")
    tracker.add_artifact("gone", "visualization", tmp_path / "gone.png")
    with Catalog(catalog_path) as opened:
        yield opened


class Elements(HTMLParser):
    """The elements of a page, and all that it would ask others for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, int] = {}
        self.asked: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data") and not (value or "").startswith(("data:", "#")):
                self.asked.append(f"{tag} {name}={value}")
            if name.startswith("on"):
                self.handlers.append(name)


def test_one_file_that_asks_nobody_and_runs_nothing(catalog: Catalog) -> None:
    html = as_html(collect(catalog, title=HOSTILE))
    page = Elements()
    page.feed(html)
    assert page.asked == []
    assert page.handlers == []
    assert "script" not in page.seen
    assert page.seen["img"] == 2
    assert page.seen["svg"] == 1
    assert "\x1b" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "default-src 'none'" in html
    # Addresses stand only in the names of SVG's and RDF's own vocabularies.
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", html))
    assert all(
        "w3.org" in one or "purl.org" in one or "creativecommons.org" in one or "matplotlib.org" in one
        for one in addresses
    )


def test_the_sections(catalog: Catalog) -> None:
    report = collect(catalog, "val/iou")
    titles = [section.title for section in report.sections]
    assert titles == [
        "Summary",
        "Leaderboard by val/iou",
        "Params that matter",
        "Config differences",
        "What failed or was aborted",
        "Artifacts",
        "Environment",
    ]
    tables = {section.title: section.table for section in report.sections}
    assert [row[1] for row in tables["Leaderboard by val/iou"][:2]] == ["e5", "e3"]
    assert [row[1] for row in tables["What failed or was aborted"]] == ["failed"]
    assert {row[0] for row in tables["Config differences"]} >= {"model.encoder", "seed"}
    matters = {row[0]: row[3] for row in tables["Params that matter"]}
    assert matters["model.encoder"] > 0.95
    assert "not readable as a picture" in as_html(report)


@pytest.mark.parametrize("metric", ["val/iou", "loss", HOSTILE])
def test_the_sql_beneath_each_table_gives_the_table(catalog: Catalog, new_tracker: Maker, metric: str) -> None:
    new_tracker(HOSTILE).log_metrics({HOSTILE: 1})
    new_tracker("e5").log_metrics({HOSTILE: 2})
    report = collect(catalog, metric, project=HOSTILE)
    assert len(report.sections) >= 6
    with closing(sqlite3.connect(catalog.path)) as connection:  # as anybody has it, without this library
        for section in report.sections:
            cursor = connection.execute(section.sql)
            assert tuple(column[0] for column in cursor.description) == section.table.columns
            assert tuple(cursor) == section.table.rows
            assert section.sql in as_markdown(report)
            assert section.sql.replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["\n" * 200, "a\u3000" * 600, "\0" * 101])
def test_names_of_many_characters_that_cannot_be_shown(
    new_tracker: Maker, catalog_path: Path, tmp_path: Path, name: str
) -> None:
    for number in range(2):
        tracker = new_tracker(f"{name}{number}", experiment_dir=tmp_path / str(number), config={"x": number})
        tracker.log_metrics({name: number})
    with Catalog(catalog_path) as opened:
        for section in collect(opened, name).sections:
            assert opened.sql(section.sql) == section.table
            assert section.table or not section.title.startswith("Leaderboard")


SHELL = shutil.which("sqlite3")


@pytest.mark.skipif(SHELL is None, reason="needs the sqlite3 shell")
def test_the_sqlite3_shell_takes_what_is_shown(catalog: Catalog) -> None:
    assert SHELL

    def pasted(sql: str) -> list[dict[str, Any]]:
        command = [SHELL, "-readonly", "-json", catalog.path]
        done = subprocess.run(command, input=f"{sql};\n", capture_output=True, text=True, timeout=60)
        assert done.stderr == ""
        return json.loads(done.stdout)

    for section in collect(catalog).sections:
        rows = pasted(section.sql)
        assert [tuple(row.values()) for row in rows] == [pytest.approx(row) for row in section.table], section.title


def test_the_sql_of_some_of_many_experiments_is_no_endless_line(new_tracker: Maker, catalog_path: Path) -> None:
    for number in range(60):
        new_tracker(f"e{number}", project="odd" if number % 2 else "even").close()
    with Catalog(catalog_path) as opened:
        [summary, *_] = collect(opened, project="odd").sections
        assert opened.sql(summary.sql) == summary.table
    assert summary.table[0][:2] == ("created", 30)
    assert max(map(len, summary.sql.splitlines())) <= 120


def test_filters_and_the_metric_by_default(catalog: Catalog) -> None:
    assert collect(catalog).metric == "val/iou"
    few = collect(catalog, "loss", status="failed")
    assert few.ids == ("e5",)
    assert few.mode == "min"
    nothing = collect(catalog, project="nobody")
    assert nothing.sections == ()
    assert "0 experiments" in as_html(nothing)
    assert as_latex(nothing)
    with pytest.raises(NotFoundError, match="did you mean 'val/iou'"):
        collect(catalog, "val/iuo")


def test_a_catalog_without_metrics(new_tracker: Maker, catalog_path: Path) -> None:
    new_tracker("a").close()
    with Catalog(catalog_path) as opened:
        report = collect(opened)
    assert report.metric is None
    assert "Summary" in as_html(report)
    assert "## Summary" in as_markdown(report)


def test_markdown_and_latex_are_escaped(catalog: Catalog) -> None:
    report = collect(catalog, title=HOSTILE)
    markdown, latex = as_markdown(report), as_latex(report)
    prose = re.sub(r"```sql.*?```", "", markdown, flags=re.DOTALL)
    assert not re.search(r"(?<!\\)<script>", prose)
    assert "\x1b" not in markdown + latex
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == len(report.sections)
    assert r"\textless{}script\textgreater{}" in latex


def test_without_matplotlib_the_report_is_made_all_the_same(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    html = as_html(collect(catalog))
    assert "crackseg_tracker[plot]" in html
    assert "Leaderboard" in html


def test_the_params_that_matter_are_those_that_repeat(new_tracker: Maker, catalog_path: Path) -> None:
    """What eta and omega squared are, from their definitions."""
    values = {"a": [0.5, 0.75, 0.625, 0.5], "b": [0.25, 0.375, 0.25, 0.5]}
    for encoder, seeds in values.items():
        for seed, value in enumerate(seeds):
            config = {"encoder": encoder, "id": f"{encoder}{seed}", "same": 1, "lr": (1, 1.0, 2, 1e-5)[seed]}
            new_tracker(f"{encoder}{seed}", config=config).log_metrics({"loss": value})
    new_tracker("lost", config={"encoder": "c"}).log_metrics({"loss": float("nan")})
    with Catalog(catalog_path) as opened:
        tables = {section.title: section.table for section in collect(opened, "loss").sections}
        few = collect(opened, "loss", experiment_id=["a0", "a1", "b0"])
    encoder, lr = tables["Params that matter"]
    every = [value for seeds in values.values() for value in seeds]
    means = {name: fmean(seeds) for name, seeds in values.items()}
    total = sum((value - fmean(every)) ** 2 for value in every)
    between = sum(4 * (mean - fmean(every)) ** 2 for mean in means.values())
    within = (total - between) / (8 - 2)
    assert encoder[:3] == ("encoder", 2, 8)
    assert encoder[3:5] == (round(between / total, 3), round((between - within) / (total + within), 3))
    assert encoder[5] == "b: 0.344 (n=4), a: 0.594 (n=4)"  # of a loss, the least is the best
    assert lr[:3] == ("lr", 3, 8)
    assert lr[5] == "2: 0.438 (n=2), 1: 0.469 (n=4), 1e-05: 0.5 (n=2)"
    assert "Params that matter" not in [section.title for section in few.sections]


def test_200_experiments_take_a_few_seconds(new_tracker: Maker, catalog_path: Path) -> None:
    for index in range(200):
        tracker = new_tracker(f"e{index}", config={"lr": index % 5, "seed": index})
        tracker.log_history("val/iou", range(100), [index / 400 + step / 400 for step in range(100)])
        tracker.complete_experiment()
    started = time.process_time()
    with Catalog(catalog_path) as opened:
        html = as_html(collect(opened))
    assert time.process_time() - started < 10  # about 2 s on an idle machine
    assert "200 experiments" in html


def test_long_histories_are_read_as_what_can_be_drawn(new_tracker: Maker, catalog_path: Path) -> None:
    for name, count in (("long", 100_000), ("short", 900)):
        with new_tracker(name) as tracker:
            tracker.log_history("val/iou", range(count), [0.5 + step / 1e6 for step in range(count)])
    with Catalog(catalog_path) as opened:
        report = collect(opened)
    counts = {name: [row.points for row in report.points if row.experiment_id == name] for name in ("long", "short")}
    assert counts["short"] == [1] * 900
    assert len(counts["long"]) == 1000
    assert sum(counts["long"]) == 100_000
    assert len(as_html(report)) < 200_000


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_shows_it(catalog: Catalog, tmp_path: Path) -> None:
    assert CHROMIUM
    (tmp_path / "report.html").write_text(as_html(collect(catalog, title=HOSTILE)), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
    done = subprocess.run(
        [*command, "--dump-dom", (tmp_path / "report.html").as_uri()], capture_output=True, text=True, timeout=120
    )
    assert "<h2>Leaderboard by val/iou</h2>" in done.stdout
    assert done.stdout.rstrip().endswith("</body></html>")
    printed = tmp_path / "report.pdf"
    subprocess.run(
        [*command, f"--print-to-pdf={printed}", (tmp_path / "report.html").as_uri()], capture_output=True, timeout=120
    )
    assert printed.read_bytes().startswith(b"%PDF")
