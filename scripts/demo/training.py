"""One experiment: train a segmenter as its config says, and tell the tracker about it."""

import json
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import picture
from cracks import Sample, Split
from features import features
from omegaconf import DictConfig

from crackseg_tracker import ExperimentTracker


class Data:
    """The samples with their features, computed once for all experiments."""

    def __init__(self, split: Split):
        self.val = split.val
        self.train_maps = [features(sample.image) for sample in split.train]
        self.val_maps = [features(sample.image) for sample in split.val]
        self.train_truth = np.concatenate([sample.truth.ravel() for sample in split.train])
        self.train_truth = self.train_truth.astype(np.float32)


class Score(NamedTuple):
    """How well a prediction and the truth overlap."""

    iou: float
    dice: float


class Result(NamedTuple):
    """The best epoch of one experiment."""

    epoch: int
    iou: float
    dice: float


def train(
    config: DictConfig,
    data: Data,
    tracker: ExperimentTracker,
    folder: Path,
    each_epoch: Callable[[], Any],
) -> Result:
    """Train, and leave a checkpoint, the scores and a picture in the folder."""
    begun = time.monotonic()
    settings = config.training
    rng = np.random.default_rng(config.seed)
    model = instantiate(config.model)
    pixels = model.start(data.train_maps)
    checkpoint = folder / "checkpoints" / "model_best.npz"
    best, scores, shown = Result(0, -1.0, -1.0), {}, []

    tracker.update_description(config.description)
    tracker.add_tags(list(config.tags))
    for epoch in range(1, settings.epochs + 1):
        rate = settings.learning_rate * settings.gamma ** (epoch - 1)
        losses = []
        for _ in range(settings.steps_per_epoch):
            batch = rng.integers(0, len(pixels), settings.batch_size)
            losses.append(
                model.learn(
                    pixels[batch],
                    data.train_truth[batch],
                    rate=rate,
                    momentum=settings.momentum,
                    loss=settings.loss,
                    positive_weight=settings.positive_weight,
                )
            )
        loss = float(np.mean(losses))
        predictions = [model.predict(maps) > 0.5 for maps in data.val_maps]
        now = {sample.name: score(predicted, sample) for sample, predicted in zip(data.val, predictions, strict=True)}
        iou, dice = np.mean(list(now.values()), axis=0).tolist()
        if iou > best.iou:
            best, scores, shown = Result(epoch, iou, dice), now, predictions
            model.save(checkpoint)

        tracker.log_metrics(
            {"train/loss": loss, "train/learning_rate": rate, "val/iou": iou, "val/dice": dice},
            step=epoch,
        )
        tracker.update_training_progress(
            current_epoch=epoch,
            total_epochs=settings.epochs,
            best_metrics={"iou": best.iou, "dice": best.dice},
            training_time_seconds=time.monotonic() - begun,
        )
        each_epoch()
        if not np.isfinite(loss):
            raise FloatingPointError(f"the loss became {loss} in epoch {epoch}, at a learning rate of {rate:g}")

    samples = {name: each._asdict() for name, each in scores.items()}
    tracker.log_samples(samples, step=best.epoch, split="val")
    tracker.add_artifact(
        artifact_id="model-best",
        artifact_type="checkpoint",
        file_path=checkpoint,
        description=f"Weights of epoch {best.epoch}, the best by validation IoU",
        tags=["best"],
    )
    report = folder / "metrics" / "final_metrics.json"
    report.parent.mkdir(parents=True)
    report.write_text(
        json.dumps(
            {
                "best_epoch": best.epoch,
                "val": {"iou": best.iou, "dice": best.dice},
                "images": samples,
            },
            indent=2,
        )
    )
    tracker.add_artifact(
        artifact_id="metrics-final",
        artifact_type="metrics",
        file_path=report,
        description="Validation scores of the best epoch, of all and of each image",
        tags=["final"],
    )
    visualization = folder / "visualizations" / "predictions.png"
    picture.save(
        visualization,
        f"{config.name}: IoU {best.iou:.2f} over {len(scores)} held-out photographs",
        [
            (sample, predicted.reshape(sample.truth.shape), scores[sample.name].iou)
            for sample, predicted in zip(data.val, shown, strict=True)
        ],
    )
    tracker.add_artifact(
        artifact_id="predictions",
        artifact_type="visualization",
        file_path=visualization,
        description="Held-out photographs, their cracks, and what the best model makes of them",
        tags=["best"],
    )
    return best


def instantiate(config: DictConfig) -> Any:
    """What `_target_` names, called with the rest of the config."""
    module, _, name = config["_target_"].rpartition(".")
    arguments = {key: value for key, value in config.items() if key != "_target_"}
    return getattr(import_module(module), name)(**arguments)


def score(predicted: np.ndarray, sample: Sample) -> Score:
    """IoU and Dice; both are 1 where there is no crack and none was predicted."""
    truth = sample.truth.ravel()
    both = np.count_nonzero(predicted & truth)
    either = np.count_nonzero(predicted | truth)
    return Score(both / either, 2 * both / (both + either)) if either else Score(1.0, 1.0)
