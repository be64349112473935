"""Fill a catalog with experiments that look real: to try questions on, for tests and benchmarks.

    python scripts/fill_catalog.py outputs/example/catalog.db
    python scripts/fill_catalog.py outputs/big/catalog.db --experiments 10000 --steps 1000

The experiments are designs (a config without its seed), each trained with five seeds. What a design is worth depends on
its params, what a seed adds is noise: comparisons and statistics find something. A share of the experiments logs whole
curves, the others report their bests only. The same arguments give the same rows. The artifacts' files do not exist.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlite3 import Connection
from typing import Any, NamedTuple
from uuid import UUID

from crackseg_tracker import TrackerError, settings
from crackseg_tracker.config import capture
from crackseg_tracker.environment import Environment, ProcessFacts
from crackseg_tracker.fingerprint import FileFacts
from crackseg_tracker.redaction import Redactor
from crackseg_tracker.store import appending, changes, metrics
from crackseg_tracker.store.database import Database, open_database

SEEDS = 5
AT_ONCE = 100  # experiments in one transaction
PROJECTS = ("crackforest", "deepcrack", "bridges")
TAGS = ("baseline", "sweep", "ablation", "augmented", "long", "paper", "pretrained", "final")
FIRST = datetime(2025, 1, 6, 8, tzinfo=UTC)
#: A status, what it says, and how many of a hundred experiments have it.
ENDS = (
    ("completed", "", 86),
    ("failed", "FloatingPointError: the loss became nan", 5),
    ("failed", "torch.cuda.OutOfMemoryError: CUDA out of memory", 3),
    ("aborted", "KeyboardInterrupt", 5),
    ("created", "", 1),
)
#: The last experiments are still running: a few, however many there were.
RUNNING = 4
#: A param's name and its values with what each is worth in IoU.
PARAMS: tuple[tuple[str, dict[Any, float]], ...] = (
    ("model.encoder", {"resnet18": -0.03, "resnet34": 0.0, "efficientnet-b2": 0.015, "swin-tiny": 0.03}),
    ("training.learning_rate", {0.01: -0.06, 0.003: -0.01, 0.001: 0.01, 0.0003: 0.0, 0.0001: -0.02}),
    ("training.loss", {"bce": -0.02, "dice": 0.01, "bce_dice": 0.02, "focal": 0.0}),
    ("model.depth", {3: -0.02, 4: 0.0, 5: 0.01}),
    ("data.augment", {True: 0.015, False: -0.015}),
    ("data.crop", {256: -0.01, 384: 0.0, 512: 0.01}),
    ("training.batch_size", {4: -0.005, 8: 0.0, 16: 0.0}),
    ("training.optimizer", {"adamw": 0.005, "sgd": -0.005}),
    ("training.weight_decay", {0.0: 0.0, 0.0001: 0.0, 0.01: 0.005}),
    ("training.scheduler", {"cosine": 0.005, "step": 0.0, None: -0.005}),
    ("model.name", {"unet": 0.0, "unet++": 0.005, "deeplabv3": 0.0}),
    ("model.dropout", {0.0: 0.0, 0.1: 0.002, 0.3: -0.004}),
    ("data.name", {"crackforest": 0.0}),
    ("data.folds", {5: 0.0}),
    ("training.mixed_precision", {True: 0.0}),
    ("training.clip_norm", {1.0: 0.0, None: 0.0}),
    ("evaluation.threshold", {0.5: 0.0, 0.4: 0.001}),
)


class Curve(NamedTuple):
    """How a metric goes: from a start to an end that quality adds to, with noise."""

    start: float
    end: float
    gain: float
    noise: float


METRICS = {
    "val/iou": Curve(0.15, 0.68, 1.0, 0.006),
    "val/dice": Curve(0.25, 0.79, 0.8, 0.006),
    "train/loss": Curve(1.1, 0.22, -0.5, 0.02),
    "val/loss": Curve(1.2, 0.31, -0.7, 0.02),
    "val/precision": Curve(0.3, 0.78, 0.7, 0.01),
    "val/recall": Curve(0.3, 0.76, 0.9, 0.01),
    "val/boundary_f1": Curve(0.1, 0.61, 1.2, 0.01),
    "train/learning_rate": Curve(0.001, 0.00001, 0.0, 0.0),
    "train/grad_norm": Curve(4.0, 0.6, 0.0, 0.2),
    "epoch_seconds": Curve(32.0, 30.0, 0.0, 0.7),
}
#: An artifact's id, type, file and tags; beyond these come checkpoints of single epochs.
ARTIFACTS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("model-best", "checkpoint", "checkpoints/best.pth", ("best", "model", "keep")),
    ("model-last", "checkpoint", "checkpoints/last.pth", ("last", "model", "resume")),
    ("metrics-final", "metrics", "metrics/final.json", ("final", "metrics", "keep")),
    ("curves", "visualization", "figures/curves.png", ("curves", "training", "figure")),
    ("predictions", "visualization", "figures/predictions.png", ("predictions", "val", "figure")),
)
PROCESS = ProcessFacts("gpu-01", "filled", "", 4242, "", "anna", "python train.py")


class Size(NamedTuple):
    """How much to make; `metrics`, `artifacts` and so on are counts for each experiment."""

    experiments: int = 200
    params: int = 20
    metrics: int = 10
    steps: int = 100
    #: The share of the experiments that log all their metrics at all steps.
    curves: float = 0.1
    artifacts: int = 5
    tags: int = 3
    #: Images of the validation split that have a value each, where there are curves.
    samples: int = 8


DEFAULT = Size()


class Design(NamedTuple):
    """A config without its seed, and what it is worth."""

    name: str
    project: str
    config: dict[str, Any]
    quality: float


def fill(path: Path, size: Size = DEFAULT, *, seed: int = 0, show: Callable[[int], object] | None = None) -> int:
    """Add experiments to the catalog at the path, which is made if there is none; give the number of points.

    Args:
        path: Where the catalog is.
        size: How much to make.
        seed: Another seed gives other experiments.
        show: Called with the number of experiments that are there, to show progress.
    """
    database = open_database(settings.locate(path))
    points = 0
    try:
        for first in range(0, size.experiments, AT_ONCE):
            batch = [_Filler(size, seed, index) for index in range(first, min(first + AT_ONCE, size.experiments))]
            with database.transaction() as connection:
                for one in batch:
                    one.begin(connection)
            points += sum(one.log(database) for one in batch)
            with database.transaction() as connection:
                for one in batch:
                    one.end(connection)
            if show is not None:
                show(first + len(batch))
    finally:
        database.close()
    return points


class _Filler:
    """Writes one experiment by the same records that a tracker writes, at times of its own."""

    target: changes.Target
    created_ms: int

    def __init__(self, size: Size, seed: int, index: int) -> None:
        self.size = size
        self.index = index
        self.design = design(size, seed, index // SEEDS)
        self.random = random.Random(f"{seed}-{index}")
        self.start = FIRST + timedelta(minutes=47 * index, milliseconds=self.random.randrange(60_000))
        number = index // SEEDS
        self.has_curves = int((number + 1) * size.curves) > int(number * size.curves)
        ends = ENDS[:-1] if self.has_curves else ENDS
        [(self.status, self.message, _)] = self.random.choices(ends, [end[2] for end in ends])
        if index >= max(1, size.experiments - RUNNING):
            self.status, self.message = "running", ""
        self.quality = self.design.quality + self.random.gauss(0, 0.008)
        self.folder = f"outputs/{self.design.project}/{self.design.name}/seed-{index % SEEDS}"

    def at(self, epoch: float) -> str:
        return (self.start + timedelta(seconds=30 * epoch)).isoformat(timespec="microseconds")

    def begin(self, connection: Connection) -> None:
        """Create the experiment with all that is no curve."""
        design, seed = self.design, self.index % SEEDS
        new = changes.NewExperiment(
            experiment_id=f"{self.start:%Y%m%d-%H%M}-{design.name}-s{seed}",
            experiment_name=design.name.rpartition("-")[0],
            project=design.project,
            group=design.name,
            experiment_dir=self.folder,
            directory=f"/home/anna/cracks/{self.folder}",
            uid=str(UUID(int=self.random.getrandbits(128), version=4)),
            created_at=self.at(0),
        )
        config = {**design.config, "seed": seed}
        captured = capture(config, REDACTOR)
        experiment, self.created_ms = changes.create_experiment(connection, new, captured)
        host = f"gpu-{1 + self.index % 4:02}"
        facts, process = environment(host, self.index), PROCESS._replace(hostname=host)
        attempt = changes.begin_attempt(connection, experiment, captured, facts, process, self.at(0))
        self.target = changes.Target(experiment, attempt)
        for change in self._changes():
            change.apply(connection, self.target)

    def _changes(self) -> list[changes.Change]:
        size, done = self.size, self.size.steps if self.status == "completed" else max(1, self.size.steps // 2)
        found: list[changes.Change] = [
            changes.TagChange(added=self.random.sample(TAGS, min(size.tags, len(TAGS))), at=self.at(0)),
        ]
        if self.index % 7 == 0:
            text = f"{self.design.config['model']['encoder']} on {self.design.project}, after the talk with Ben"
            found.append(changes.DescriptionChange(description=text, at=self.at(0)))
        if self.status == "created":
            return found
        reported = {} if self.has_curves else {name: self._best(name, curve) for name, curve in curves(size.metrics)}
        return [
            *found,
            changes.StatusChange(status="running", at=self.at(0)),
            changes.ProgressChange(
                current_epoch=done,
                total_epochs=size.steps,
                best_metrics=reported,
                training_time_seconds=30.0 * done,
                at=self.at(done),
            ),
            *(self._artifact(number, done) for number in range(size.artifacts)),
        ]

    def _best(self, name: str, curve: Curve) -> float:
        return curve.end + curve.gain * self.quality + self.random.gauss(0, curve.noise)

    def _artifact(self, number: int, epoch: int) -> changes.ArtifactChange:
        epoch_id = f"epoch-{number:04}"
        epoch_checkpoint = (epoch_id, "checkpoint", f"checkpoints/{epoch_id}.pth", ("epoch",))
        artifact_id, kind, file, tags = ARTIFACTS[number] if number < len(ARTIFACTS) else epoch_checkpoint
        size = self.random.randrange(90_000_000, 99_000_000) if kind == "checkpoint" else self.random.randrange(50_000)
        modified_ns = int(self.start.timestamp() * 1e9)
        sha256 = f"{self.random.getrandbits(256):064x}"
        return changes.ArtifactChange(
            artifact_id=artifact_id,
            artifact_type=kind,
            path=f"{self.folder}/{file}",
            absolute_path=f"/home/anna/cracks/{self.folder}/{file}",
            inside_path=file,
            description=f"{kind} of {self.design.name}",
            tags=tags,
            facts=FileFacts("file", size, modified_ns, None, sha256, "hashed"),
            at=self.at(epoch),
        )

    def log(self, database: Database) -> int:
        """Write the curves; of a running experiment, the last steps one by one, as its training would."""
        if not self.has_curves:
            return 0
        series = appending.writer_of(database, self.target.experiment, self.created_ms)
        steps = range(self.size.steps)
        values = {name: self._values(curve) for name, curve in curves(self.size.metrics)}
        if self.message.startswith("FloatingPointError"):
            values = {name: [*one[:-1], math.nan] if "loss" in name else one for name, one in values.items()}
        whole = max(0, self.size.steps - 3) if self.status == "running" else self.size.steps
        offsets = [30_000 * (step + 1) for step in steps]
        series.log_many(
            {name: metrics.Points(steps[:whole], one[:whole], offsets[:whole]) for name, one in values.items()}
        )
        for step in steps[whole:]:
            series.log({name: one[step] for name, one in values.items()}, step, offsets[step])
        return len(values) * len(steps)

    def end(self, connection: Connection) -> None:
        """Write what comes last: the samples of the validation, and the end."""
        if self.has_curves and self.size.samples:
            iou = [0.6 + self.quality + self.random.gauss(0, 0.1) for _ in range(self.size.samples)]
            rows = [(f"{number:03}.png", "iou", value) for number, value in enumerate(iou)]
            metrics.log_samples(connection, self.target.experiment, "val", rows, self.size.steps - 1)
        if self.status not in ("created", "running"):
            end = changes.StatusChange(status=self.status, message=self.message, at=self.at(self.size.steps + 1))
            end.apply(connection, self.target)

    def _values(self, curve: Curve) -> list[float]:
        end = curve.end + curve.gain * self.quality
        count = self.size.steps
        first = self.random.randrange(len(NOISE))
        noise = (NOISE[first:] + NOISE * (1 + count // len(NOISE)))[:count]
        scale, reach, sigma = -5.0 / count, curve.start - end, curve.noise
        return [end + reach * math.exp(scale * step) + sigma * one for step, one in enumerate(noise)]


REDACTOR = Redactor()
#: Drawn once: ten million calls of gauss() would take longer than all else.
NOISE = [random.Random(number).gauss(0, 1) for number in range(4093)]


def curves(count: int) -> Sequence[tuple[str, Curve]]:
    """Give so many metrics; beyond the well-known ones they are the IoU of classes."""
    more = {f"val/iou_class_{number:03}": METRICS["val/iou"] for number in range(count - len(METRICS))}
    return list((METRICS | more).items())[:count]


def design(size: Size, seed: int, number: int) -> Design:
    """Draw the params of a design."""
    drawn = random.Random(f"{seed}-{number}-design")
    flat: dict[str, Any] = {"project_name": PROJECTS[number // 8 % len(PROJECTS)], "training.epochs": size.steps}
    quality = 0.0
    for name, options in PARAMS[: max(1, size.params - 3)]:
        flat[name] = drawn.choice(list(options))
        quality += options[flat[name]]
    for extra in range(size.params - 3 - len(PARAMS)):
        flat[f"augmentation.strength_{extra:03}"] = round(drawn.random(), 3)
    config: dict[str, Any] = {}
    for name, value in flat.items():
        *folders, leaf = name.split(".")
        place = config
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = value
    name = f"{flat.get('model.name', 'unet')}-{flat['model.encoder']}-{number:05}"
    return Design(name, flat["project_name"], config, quality)


def environment(host: str, index: int) -> Environment:
    """Describe a machine; the code changes every hundred experiments."""
    commit = f"{random.Random(index // 100).getrandbits(160):040x}"
    return Environment(
        python_version="3.11.7",
        platform="Linux-6.1-x86_64",
        hostname=host,
        username="anna",
        memory_gb=128.0,
        cpu_count=32,
        pytorch_version="2.5.1",
        cuda_available=True,
        cuda_version="12.4",
        gpu_info={"name": "NVIDIA A100", "count": 1},
        git_commit=commit,
        git_branch="main",
        git_remote="https://example.org/cracks.git",
        packages={"torch": "2.5.1", "numpy": "1.26.4", "segmentation-models-pytorch": "0.3.4"},
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", type=Path, help="path of the catalog; made if there is none, else added to")
    for name, default in DEFAULT._asdict().items():
        what = "share that logs curves" if name == "curves" else "how many" if name == "experiments" else "of each"
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{what} (default: {default})")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other experiments (default: 0)")
    options = vars(parser.parse_args())
    path, seed = options.pop("catalog"), options.pop("seed")
    size, begun = Size(**options), time.monotonic()

    def show(done: int) -> None:
        print(f"\r{done:,} of {size.experiments:,}", end="", file=sys.stderr, flush=True)

    try:
        points = fill(path, size, seed=seed, show=show if sys.stderr.isatty() else None)
    except TrackerError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{size.experiments:,} experiments and {points:,} points in {time.monotonic() - begun:.0f} s: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
