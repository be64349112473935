"""Photographs with cracks: drawn ones with exact masks, or a folder shaped like CrackForest."""

import math
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2gray
from skimage.io import imread

# Photographs that lie inside scikit-image itself, and how much of their contrast is kept.
SURFACES = {"brick": 0.9, "gravel": 0.45, "moon": 1.0}

UNREADABLE = (OSError, LookupError, ValueError, TypeError, NotImplementedError, MatReadError)

EXPECTED = """\
expected a folder shaped like CrackForest:
  image/NNN.jpg         RGB photographs
  groundTruth/NNN.mat   groundTruth[0, 0]["Segmentation"], as large as the photograph, 2 = crack"""


class DataError(Exception):
    """The data folder is not what it should be; the message says what was expected."""


class Sample(NamedTuple):
    """One photograph and its mask."""

    name: str
    image: np.ndarray  # float32 in 0..1, (height, width)
    truth: np.ndarray  # bool, (height, width)


class Split(NamedTuple):
    """What is learned from, and what is held out."""

    train: list[Sample]
    val: list[Sample]


def draw(train: int, val: int, size: int, seed: int) -> Split:
    """Cracks drawn on photographs: learned from their left parts, tested on their right parts."""
    rng = np.random.default_rng(seed)
    photographs = {
        name: gaussian_filter(imread(str(files("skimage.data") / f"{name}.png")) / 255.0, 0.6) for name in SURFACES
    }

    def sample(number: int, held_out: bool) -> Sample:
        name = list(SURFACES)[number % len(SURFACES)]
        photograph = photographs[name]
        border = round(photograph.shape[1] * 0.62)
        side = photograph[:, border:] if held_out else photograph[:, :border]
        surface = _window(side, size, rng)
        surface = 0.5 + SURFACES[name] * (surface - surface.mean())
        image, truth = _crack(surface * _light(size, rng), rng)
        image += rng.normal(0, 0.012, image.shape)
        return Sample(
            f"{name}-{number // len(SURFACES) + 1:02d}",
            np.clip(image, 0, 1).astype(np.float32),
            truth,
        )

    return Split(
        [sample(number, held_out=False) for number in range(train)],
        [sample(number, held_out=True) for number in range(val)],
    )


def load(folder: Path, train: int, val: int, size: int, seed: int) -> Split:
    """One window of each of `train + val` photographs of a CrackForest-shaped folder."""
    rng = np.random.default_rng(seed)
    masks = {path.stem: path for path in (folder / "groundTruth").glob("*.mat")}
    pairs = [(path, masks[path.stem]) for path in sorted((folder / "image").glob("*.jpg")) if path.stem in masks]
    if len(pairs) < 3:
        found = f"{len(pairs)} photographs with a mask" if folder.is_dir() else "no such folder"
        raise DataError(f"{folder}: {found}; {EXPECTED}")
    share = min(1.0, len(pairs) / (train + val))
    chosen = [pairs[i] for i in rng.permutation(len(pairs))[: round((train + val) * share)]]
    held_out = max(1, round(val * share))
    samples = [_read(image, mask, size, rng) for image, mask in chosen]
    return Split(samples[held_out:], samples[:held_out])


def _read(image_path: Path, mask_path: Path, size: int, rng: np.random.Generator) -> Sample:
    try:
        photograph = imread(image_path)
        mask = loadmat(mask_path)["groundTruth"][0, 0]["Segmentation"] == 2
    except UNREADABLE as error:
        raise DataError(f"{mask_path} or its photograph cannot be read: {error}; {EXPECTED}") from error
    grey = rgb2gray(photograph) if photograph.ndim == 3 else photograph / 255.0
    if grey.shape != mask.shape or min(mask.shape) < size:
        raise DataError(f"{image_path}: photograph {grey.shape}, mask {mask.shape}, window {size}; {EXPECTED}")
    # A window with crack in it, where there is any: most of a photograph has none.
    cracked = np.argwhere(mask)
    seen = rng.choice(cracked) if len(cracked) else rng.integers(mask.shape)
    top, left = np.clip(seen - rng.integers(0, size, 2), 0, np.array(mask.shape) - size)
    window = np.s_[top : top + size, left : left + size]
    return Sample(image_path.stem, grey[window].astype(np.float32), mask[window])


def _window(photograph: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    top, left = rng.integers(0, np.array(photograph.shape) - size + 1)
    window = np.rot90(photograph[top : top + size, left : left + size], rng.integers(4))
    return window[:, ::-1] if rng.random() < 0.5 else window


def _light(size: int, rng: np.random.Generator) -> np.ndarray:
    """Uneven light and a stain: darker than many a crack, and no crack."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    angle = rng.uniform(0, 2 * math.pi)
    light = 1 + rng.uniform(0.1, 0.4) * (x * math.cos(angle) + y * math.sin(angle))
    cy, cx = rng.uniform(-0.5, 0.5, 2)
    stain = np.hypot(y - cy, x - cx) + gaussian_filter(rng.normal(0, 1.2, x.shape), 8)
    return light * (1 - rng.uniform(0.2, 0.45) / (1 + np.exp((stain - 0.2) * 40)))


def _crack(surface: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The surface with a crack from one side to another, and the exact pixels of that crack."""
    size = surface.shape[0]
    distance = np.full(surface.shape, np.inf)  # to the crack's edge, negative inside
    along, turn = rng.uniform(0.25, 0.75) * size, rng.integers(4)
    heading = rng.uniform(-0.5, 0.5)
    walks = [(np.array([0.0, along]), heading, rng.uniform(1.0, 2.0), 2 * size)]
    branches = rng.integers(1, 4)
    while walks:
        at, heading, width, steps = walks.pop()
        drift, swell = 0.0, 0.0
        for step in range(steps):
            drift = 0.9 * drift + rng.normal(0, 0.09)
            swell = 0.97 * swell + rng.normal(0, 0.1)
            direction = heading + 1.2 * drift
            at = at + 0.8 * np.array([math.cos(direction), math.sin(direction)])
            if not (0 <= at[0] < size and 0 <= at[1] < size):
                break
            taper = min(1.0, 0.35 + 0.02 * (steps - step))
            _stamp(distance, at, width * taper * math.exp(np.clip(swell, -0.7, 0.7)))
            if branches and rng.random() < 0.012:
                branches -= 1
                side = heading + rng.choice([-1, 1]) * rng.uniform(0.5, 1.1)
                walks.append((at, side, 0.7 * width, int(rng.integers(40, 130))))
    distance = np.rot90(distance, turn)
    depth = rng.uniform(0.3, 0.55) * (1 + 0.25 * gaussian_filter(rng.normal(0, 9, surface.shape), 5))
    profile = np.clip(0.45 - 0.45 * distance, 0, 1)  # soft edges: half as dark at the mask's rim
    return surface * (1 - depth * profile), distance <= 0


def _stamp(distance: np.ndarray, at: np.ndarray, radius: float) -> None:
    top, left = np.maximum(at.astype(int) - 7, 0)
    near = distance[top : top + 15, left : left + 15]
    y, x = np.ogrid[top : top + near.shape[0], left : left + near.shape[1]]
    np.minimum(near, np.hypot(y - at[0], x - at[1]) - radius, out=near)
