"""A report as one HTML file: no script, no outside request, and everything from the catalog escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape

from crackseg_tracker import formatting
from crackseg_tracker.formatting import neutral
from crackseg_tracker.report.collect import Picture, Report, Section
from crackseg_tracker.report.text import runs_as_it_stands

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #222; background: #fff;
  max-width: 72rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .3rem; }
p { margin: .2rem 0 .6rem; color: #555; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .28rem .7rem .28rem 0; border-bottom: 1px solid #e4e4e4;
  max-width: 26rem; overflow-wrap: break-word; }
th { border-bottom: 1.5px solid #888; font-weight: 600; }
details { margin: .5rem 0; font-size: 12.5px; color: #555; }
pre { background: #f6f6f6; padding: .6rem .8rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .9rem; }
figure { margin: 0; break-inside: avoid; }
figure img { max-width: 100%; border: 1px solid #ddd; image-rendering: auto; }
figcaption { font-size: 11.5px; color: #555; overflow-wrap: anywhere; }
@media screen and (max-width: 50rem) { table { width: max-content; } th, td { max-width: 16rem; } }
@media print { body { margin: 0; max-width: none; font-size: 11px; } table { font-size: 9.5px; }
  h2, h2 + p { break-after: avoid; } tr, svg { break-inside: avoid; } .scroll { overflow: visible; }
  details:not([open]) { display: none; } }
"""
# The browser itself then refuses scripts and requests, should anything ever slip through the escaping.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_THUMBNAIL = 360
_LARGEST_FILE = 50_000_000


def as_html(report: Report) -> str:
    """Write one self-contained file; the curves need the extra ``plot``, thumbnails the Pillow that comes with it."""
    title = escape(neutral(report.title))
    made = f"{len(report.ids):,} experiments of {neutral(report.catalog)}, at {report.made_at}"
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        f"<p>{escape(made)}</p>",
    ]
    for section in report.sections:
        parts += _section(section)
        if section.title.startswith("Leaderboard"):
            parts += _curves(report)
    parts += _pictures(report.pictures)
    parts += [f"<p>{escape(neutral(runs_as_it_stands(report)))}</p>", "</body></html>"]
    return "\n".join(parts) + "\n"


def _section(section: Section) -> Iterable[str]:
    yield f"<h2>{escape(neutral(section.title))}</h2>"
    if section.note:
        yield f"<p>{escape(neutral(section.note))}</p>"
    yield f'<div class="scroll">{formatting.as_html(section.table.columns, section.table.rows)}</div>'
    yield f"<details><summary>SQL</summary><pre>{escape(section.sql)}</pre></details>"


def _curves(report: Report) -> Iterable[str]:
    if not report.points or report.metric is None:
        return
    from crackseg_tracker.plots import curve_data, draw_curves
    from crackseg_tracker.plots.style import write

    yield f"<h2>Curves of {escape(neutral(report.metric))}</h2>"
    data = curve_data(report.points, modes={report.metric: report.mode})
    try:
        figure = draw_curves(data, units=report.units)
    except ModuleNotFoundError as error:
        yield f"<p>{escape(str(error))}</p>"
        return
    stream = io.BytesIO()
    write(figure, stream, "svg")
    svg = stream.getvalue().decode()
    yield svg[svg.index("<svg") :]


def _pictures(pictures: Iterable[Picture]) -> Iterable[str]:
    figures: list[str] = []
    for picture in pictures:
        caption = escape(neutral(f"{picture.experiment_id}: {picture.artifact_id}"))
        uri = _thumbnail(picture)
        shown = f'<img src="{uri}" alt="{caption}">' if uri else "<p>not readable as a picture</p>"
        figures.append(f"<figure>{shown}<figcaption>{caption}</figcaption></figure>")
    if figures:
        yield "<h2>Pictures</h2>"
        yield '<div class="pictures">' + "\n".join(figures) + "</div>"


def _thumbnail(picture: Picture) -> str | None:
    """Make a small copy as a data URI; None where the file is none that Pillow may read."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        return None
    import warnings

    stream = io.BytesIO()
    try:
        if picture.path.stat().st_size > _LARGEST_FILE:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # a small file may hold a huge picture
            with Image.open(picture.path) as image:
                image.thumbnail((_THUMBNAIL, _THUMBNAIL))
                image.convert("RGB").save(stream, "JPEG", quality=85)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None  # the artifact is anybody's file: whatever it is, the report is made
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
