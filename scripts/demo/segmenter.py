"""Small pixel classifiers, trained by minibatch gradient descent in numpy."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from features import ENCODERS, stack

LOSSES = ("bce", "weighted_bce", "dice")
DECODERS = ("linear", "mlp")


class PixelClassifier:
    """Says for every pixel how likely it is crack, from the features of its encoder.

    Args:
        encoder: The feature set: `intensity`, `ridges` or `all`.
        decoder: `linear` (logistic regression) or `mlp` (one hidden layer).
        hidden: Width of the hidden layer.
        seed: Makes the first weights.
    """

    def __init__(self, encoder: str, decoder: str, seed: int, hidden: int = 32):
        if encoder not in ENCODERS or decoder not in DECODERS:
            raise ValueError(f"no such model: encoder {encoder!r}, decoder {decoder!r}")
        self.encoder = encoder
        self.decoder = decoder
        self.hidden = hidden
        self.mean = self.scale = np.float32(0)
        self.weights: list[np.ndarray] = []
        self._speed: list[np.ndarray] = []
        self._rng = np.random.default_rng(seed)

    def start(self, maps: list[dict[str, np.ndarray]]) -> np.ndarray:
        """The pixels to learn from, standardised; the first weights are drawn for them."""
        pixels = np.concatenate([stack(each, self.encoder) for each in maps])
        self.mean, self.scale = pixels.mean(axis=0), pixels.std(axis=0) + np.float32(1e-6)
        pixels -= self.mean
        pixels /= self.scale
        sizes = [pixels.shape[1], *([self.hidden] if self.decoder == "mlp" else []), 1]
        for before, after in pairwise(sizes):
            spread = np.sqrt(2 / before) if after > 1 else 0.1 / np.sqrt(before)
            weights = self._rng.normal(0, spread, (before + 1, after)).astype(np.float32)
            weights[-1] = 0  # the last row is the bias
            self.weights.append(weights)
        self.weights[-1][-1] = -3  # cracks are rare
        self._speed = [np.zeros_like(each) for each in self.weights]
        return pixels

    def learn(
        self,
        pixels: np.ndarray,
        truth: np.ndarray,
        *,
        rate: float,
        momentum: float,
        loss: str,
        positive_weight: float,
    ) -> float:
        """One step of gradient descent with momentum; the loss before it."""
        layers = [pixels]
        for weights in self.weights[:-1]:
            layers.append(np.maximum(layers[-1] @ weights[:-1] + weights[-1], 0))
        logits = (layers[-1] @ self.weights[-1][:-1] + self.weights[-1][-1])[:, 0]
        value, slope = _loss(logits, truth, loss, positive_weight)
        slope = slope[:, None]
        for i in reversed(range(len(self.weights))):
            gradient = np.vstack([layers[i].T @ slope, slope.sum(axis=0)])
            if i:
                slope = slope @ self.weights[i][:-1].T * (layers[i] > 0)
            self._speed[i] = momentum * self._speed[i] - rate * gradient
            self.weights[i] = self.weights[i] + self._speed[i]
        return value

    def predict(self, maps: dict[str, np.ndarray]) -> np.ndarray:
        """The probability of crack of every pixel, flat."""
        layer = (stack(maps, self.encoder) - self.mean) / self.scale
        for weights in self.weights[:-1]:
            layer = np.maximum(layer @ weights[:-1] + weights[-1], 0)
        return _sigmoid((layer @ self.weights[-1][:-1] + self.weights[-1][-1])[:, 0])

    def save(self, path: Path) -> None:
        """Write the checkpoint, an .npz file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f"weights_{i}": weights for i, weights in enumerate(self.weights)}
        np.savez(path, mean=self.mean, scale=self.scale, **arrays)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def _loss(logits: np.ndarray, truth: np.ndarray, loss: str, positive_weight: float) -> tuple[float, np.ndarray]:
    """The loss and its derivative by each logit."""
    if loss not in LOSSES:
        raise ValueError(f"no such loss: {loss!r}; there are {', '.join(LOSSES)}")
    probability = _sigmoid(logits)
    if loss == "dice":
        total = probability.sum() + truth.sum() + 1
        overlap = 2 * (probability * truth).sum() + 1
        slope = (overlap / total - 2 * truth) / total * probability * (1 - probability)
        return float(1 - overlap / total), slope
    weight = 1 + (positive_weight - 1) * truth if loss == "weighted_bce" else np.float32(1)
    value = weight * (np.logaddexp(0, logits) - truth * logits)
    return float(value.mean()), weight * (probability - truth) / np.float32(len(truth))
