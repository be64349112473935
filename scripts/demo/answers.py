"""What a catalog can be asked when experiments are a database, and its answers as plain text."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from crackseg_tracker import Catalog

BEST_BY_FEATURES = """\
select data.value as data, encoder.value as encoder, loss.value as loss,
       count(*) as experiments, round(max(best.value), 3) as best_iou
from metric_bests as best
join experiments using (experiment_id)
join params as data using (experiment_id)
join params as encoder using (experiment_id)
join params as loss using (experiment_id)
where best.metric = 'iou' and experiments.status = 'completed'
  and data.name = 'data.source' and encoder.name = 'model.encoder' and loss.name = 'training.loss'
group by 1, 2, 3
order by data, best_iou desc"""


def show(path: Path) -> None:
    """Ask the catalog five questions."""
    catalog = Catalog(path)

    ranked = list(catalog.best("iou", limit=5))
    heading("Best IoU of all experiments")
    table(
        ["", "experiment", "IoU", "epoch", "status"],
        [
            [place, row.experiment_id, f"{row.value:.3f}", dash(row.step), row.status]
            for place, row in enumerate(ranked, 1)
        ],
    )

    heading('Checkpoints tagged "best"')
    table(
        ["experiment", "file", "bytes", "sha256"],
        [
            [row.experiment_id, Path(row.path).name, f"{row.size_bytes:,}", row.sha256[:12]]
            for row in catalog.artifacts(artifact_type="checkpoint", tags=["best"])
        ],
    )

    completed = catalog.best("iou", limit=None, status="completed")
    if len(completed) > 1:
        first, last = completed[0].experiment_id, completed[-1].experiment_id
        heading("What differs between the best and the worst of the completed ones")
        one, other = catalog.params(first), catalog.params(last)
        table(
            ["param", first, last],
            [
                [name, dash(one.get(name)), dash(other.get(name))]
                for name in sorted(one.keys() | other.keys())
                if one.get(name) != other.get(name)
            ],
        )

    heading("What failed, and why")
    table(
        ["experiment", "error"],
        [[row.experiment_id, reason(row.error_message)] for row in catalog.experiments(status="failed")],
    )

    heading("Which features were worth it? One SQL statement over every experiment:")
    print(BEST_BY_FEATURES, end="\n\n")
    answer = catalog.sql(BEST_BY_FEATURES)
    table(answer.columns, answer.rows)

    pictures = list(catalog.artifacts(artifact_type="visualization"))
    best_picture = [each.path for each in pictures if each.experiment_id == ranked[0].experiment_id]
    heading("Where it all is")
    table(["", ""], [["catalog", path], ["picture", best_picture[0]]])
    print(f'\nNow try: sqlite3 {path} "select * from metric_bests"')


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


def dash(value: Any) -> Any:
    return "-" if value is None else value


def reason(error_message: str | None) -> str:
    """The last line of a traceback."""
    return error_message.strip().splitlines()[-1] if error_message else "-"
