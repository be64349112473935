"""Held-out photographs beside their cracks and a prediction, in colours that everybody can tell."""

from pathlib import Path

import numpy as np
from cracks import Sample
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation

# From the palette of Okabe and Ito; they also differ in lightness.
FOUND, MISSED, FALSE = (86, 180, 233), (240, 228, 66), (213, 94, 0)
INK, PAPER = (34, 34, 34), (255, 255, 255)
ZOOM, GAP, LEFT, TOP = 2, 12, 104, 84


def save(path: Path, title: str, results: list[tuple[Sample, np.ndarray, float]]) -> None:
    """Draw the easiest, the middle and the hardest of the results: sample, prediction, IoU."""
    ranked = sorted(results, key=lambda result: -result[2])
    rows = {
        "easiest": ranked[0],
        "middle": ranked[len(ranked) // 2],
        "hardest": ranked[-1],
    }
    side = ZOOM * ranked[0][0].image.shape[0]
    columns = [LEFT + i * (side + GAP) for i in range(3)]
    page = Image.new("RGB", (columns[-1] + side + GAP, TOP + len(rows) * (side + GAP)), PAPER)
    pen = ImageDraw.Draw(page)
    large, small = ImageFont.load_default(20), ImageFont.load_default(15)

    pen.text((columns[0], 14), title, INK, large)
    baseline = TOP - 24
    pen.text((columns[0], baseline), "photograph", INK, small)
    pen.text((columns[1], baseline), "its cracks, outlined", INK, small)
    at = columns[2]
    for colour, word in ((FOUND, "found"), (MISSED, "missed"), (FALSE, "false alarm")):
        pen.rectangle((at, baseline + 3, at + 13, baseline + 16), colour, INK)
        pen.text((at + 20, baseline), word, INK, small)
        at += 36 + pen.textlength(word, small)

    for i, (label, (sample, predicted, iou)) in enumerate(rows.items()):
        top = TOP + i * (side + GAP)
        pen.text((GAP, top), f"{label}\n{sample.name}\nIoU {iou:.2f}", INK, small, spacing=6)
        photograph = _stretch(sample.image)
        truth, predicted = _enlarge(sample.truth), _enlarge(predicted)
        outline = binary_dilation(truth, iterations=2) & ~truth
        for left, shades in zip(
            columns,
            (
                photograph,
                _paint(photograph, (outline, FOUND)),
                _paint(
                    0.55 * photograph,
                    (truth & predicted, FOUND),
                    (truth & ~predicted, MISSED),
                    (predicted & ~truth, FALSE),
                ),
            ),
            strict=True,
        ):
            page.paste(Image.fromarray(shades.astype(np.uint8)), (left, top))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


def _stretch(image: np.ndarray) -> np.ndarray:
    """The photograph at full contrast, enlarged, as RGB in 0..255."""
    low, high = np.percentile(image, (0.5, 99.5))
    shades = np.clip((image - low) / max(high - low, 1e-6), 0, 1) * 255
    grey = Image.fromarray(shades.astype(np.uint8))
    size = (grey.width * ZOOM, grey.height * ZOOM)
    return np.array(grey.resize(size, Image.Resampling.BICUBIC).convert("RGB"), dtype=float)


def _enlarge(mask: np.ndarray) -> np.ndarray:
    return mask.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def _paint(shades: np.ndarray, *layers: tuple[np.ndarray, tuple[int, int, int]]) -> np.ndarray:
    painted = shades.copy()
    for mask, colour in layers:
        painted[mask] = colour
    return painted
