"""What a catalog can be asked when experiments are a database, and its answers as plain text."""

import shlex
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from crackseg_tracker import Catalog

LABELS = ("name", "description", "tags")
"""The params that only say what an experiment is called."""

BEST_BY_FEATURES = """\
select data.value as data, encoder.value as encoder, loss.value as loss,
       count(*) as experiments, round(max(best.value), 3) as best_iou
from metric_bests as best
join experiments using (experiment_id)
join params as data using (experiment_id)
join params as encoder using (experiment_id)
join params as loss using (experiment_id)
where best.metric = 'val/iou' and experiments.status = 'completed'
  and data.name = 'data.source' and encoder.name = 'model.encoder' and loss.name = 'training.loss'
group by 1, 2, 3
order by data, best_iou desc"""


def show(path: Path, source: str) -> None:
    """Ask the catalog five questions; what is compared was trained on the same source of data."""
    with Catalog(path) as catalog:
        completed = catalog.best("val/iou", limit=None, tags=["demo", source], status="completed")
        best, worst = completed[0].experiment_id, completed[-1].experiment_id

        show_leaderboard(catalog, source)
        show_checkpoints(catalog)
        show_difference(catalog, best, worst)
        show_failures(catalog)
        show_sql(catalog)

        heading("Where it all is")
        pictures = catalog.artifacts("visualization", tags=["best"], experiment_id=best)
        table(
            ["", ""],
            [["catalog", path], *(["picture of the best", each.absolute_path] for each in pictures)],
        )
    print(f'\nNow try: sqlite3 {shlex.quote(str(path))} "select * from metric_bests"')


def show_leaderboard(catalog: Catalog, source: str) -> None:
    heading(f'Best IoU of all experiments tagged "{source}"')
    rows = catalog.best("val/iou", limit=5, tags=["demo", source])
    table(
        ["", "experiment", "IoU", "epoch", "status"],
        [[place, row.experiment_id, f"{row.value:.3f}", row.step, row.status] for place, row in enumerate(rows, 1)],
    )


def show_checkpoints(catalog: Catalog) -> None:
    heading('Checkpoints tagged "best"')
    rows = catalog.artifacts(artifact_type="checkpoint", tags=["best"])
    table(
        ["experiment", "file", "bytes", "sha256"],
        [[row.experiment_id, Path(row.path).name, size(row.size_bytes), row.sha256[:12]] for row in rows],
    )


def show_difference(catalog: Catalog, best: str, worst: str) -> None:
    heading("What differs between the best and the worst of the completed ones")
    one, other = catalog.params(best), catalog.params(worst)
    table(
        ["param", best, worst],
        [
            [name, dash(one.get(name)), dash(other.get(name))]
            for name in sorted(one.keys() | other.keys())
            if one.get(name) != other.get(name) and name.split("[")[0] not in LABELS
        ],
    )


def show_failures(catalog: Catalog) -> None:
    heading("What failed, and why")
    rows = catalog.experiments(status="failed")
    table(["experiment", "error"], [[row.experiment_id, last_line(row.error_message)] for row in rows])


def show_sql(catalog: Catalog) -> None:
    heading("Which features were worth it? One SQL statement over every experiment:")
    print(textwrap.indent(BEST_BY_FEATURES, "  "), end="\n\n")
    answer = catalog.sql(BEST_BY_FEATURES)
    table(answer.columns, answer.rows)


def heading(text: str) -> None:
    print(f"\n{text}\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Aligned columns, those of numbers to the right."""
    lines = [[str(cell) for cell in row] for row in rows]
    if not lines:
        print("  nothing")
        return
    numeric = [all(map(is_number, column)) for column in zip(*lines, strict=True)]
    if any(columns):
        lines.insert(0, list(columns))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        print("  " + "  ".join(cells).rstrip())


def is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").lstrip("-").isdigit()


def size(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def dash(value: Any) -> Any:
    return "-" if value is None else value


def last_line(traceback: str) -> str:
    return (traceback.strip() or "-").splitlines()[-1]
