"""What a pixel classifier sees of a pixel: intensities, ridges, and straight lines through it."""

from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter
from skimage.feature import hessian_matrix, hessian_matrix_eigvals

ENCODERS = {
    "intensity": ("intensity",),
    "ridges": ("ridge",),
    "all": ("intensity", "ridge", "line", "spread"),
}
"""The families of features that each `model.encoder` uses."""


def features(image: np.ndarray) -> dict[str, np.ndarray]:
    """Every feature of every pixel, by name: float32, flat."""
    maps = {}
    for sigma in (0.5, 1, 2, 4, 8):
        maps[f"intensity-{sigma}"] = gaussian_filter(image, sigma)
    for sigma in (1.0, 1.5, 2.5, 4.0):
        hessian = hessian_matrix(image, sigma, mode="reflect", order="rc", use_gaussian_derivatives=False)
        across, along = hessian_matrix_eigvals(hessian) * sigma**2
        maps[f"ridge-{sigma}-across"], maps[f"ridge-{sigma}-along"] = across, along
    for across, along in ((1.2, 4.0), (1.2, 9.0), (2.2, 6.0), (2.2, 12.0)):
        responses = _lines(image, across, along)
        maps[f"line-{across}-{along}-best"] = responses.max(axis=0)
        maps[f"line-{across}-{along}-mean"] = responses.mean(axis=0)
    for width in (7, 21):
        mean = uniform_filter(image, width)
        spread = np.sqrt(np.maximum(uniform_filter(image**2, width) - mean**2, 0))
        maps[f"spread-{width}"] = spread
        maps[f"spread-{width}-darker"] = (mean - maps["intensity-1"]) / (spread + 0.02)
    return {name: values.astype(np.float32).ravel() for name, values in maps.items()}


def stack(maps: dict[str, np.ndarray], encoder: str) -> np.ndarray:
    """The features of one encoder as a matrix of pixels x features."""
    families = ENCODERS[encoder]
    return np.stack([maps[name] for name in maps if name.split("-")[0] in families], axis=1)


def _lines(image: np.ndarray, across: float, along: float) -> np.ndarray:
    """How much a dark line of this size lies here, in each of twelve directions."""
    margin = int(3 * along)
    padded = np.pad(image, margin, mode="reflect")
    filtered = np.fft.irfft2(np.fft.rfft2(padded) * _kernels(padded.shape, across, along), s=padded.shape)
    return filtered[:, margin:-margin, margin:-margin]


@cache
def _kernels(shape: tuple[int, int], across: float, along: float) -> np.ndarray:
    """Second derivatives of a Gaussian, drawn out along a line, as spectra."""
    v, u = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    angles = (np.arange(12) * np.pi / 12)[:, None, None]
    fx = 2 * np.pi * (u * np.cos(angles) + v * np.sin(angles))
    fy = 2 * np.pi * (v * np.cos(angles) - u * np.sin(angles))
    return -((fx * across) ** 2) * np.exp(-((fx * across) ** 2 + (fy * along) ** 2) / 2)
