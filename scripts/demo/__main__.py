"""Train small crack segmenters on real photographs, track them, and ask the catalog about them.

Without --data, cracks with exact masks are drawn on photographs that lie inside scikit-image.
Every experiment is a folder below --output and rows of the catalog; a later demo adds to them.
"""

import argparse
import sys
import time
from pathlib import Path

import answers
import cracks
import numpy as np
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm
from training import Data, train

from crackseg_tracker import ExperimentTracker, TrackerError

CONFIGS = Path(__file__).parent / "configs"


def main() -> int:
    try:
        demonstrate(arguments())
    except (cracks.DataError, TrackerError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def demonstrate(options: argparse.Namespace) -> None:
    configs = read_configs(options)
    begun = time.monotonic()
    shared = configs[0].data
    how_many = (shared.train_images, shared.val_images, shared.window, shared.seed)
    split = cracks.load(options.data, *how_many) if options.data else cracks.draw(*how_many)
    print(f"{len(split.train)} photographs to learn from, {len(split.val)} held out ({shared.source})")
    data = Data(split)

    epochs = sum(config.training.epochs for config in configs)
    with tqdm(total=epochs, unit="epoch", disable=None) as bar:  # None: quiet without a terminal
        for config in configs:
            bar.set_description(config.name)
            before = bar.n
            experiment(config, data, options, bar)
            bar.update(before + config.training.epochs - bar.n)  # what a failed one left out
    print(f"{len(configs)} experiments in {time.monotonic() - begun:.0f} s")

    answers.show(options.catalog, shared.source)


def experiment(config: DictConfig, data: Data, options: argparse.Namespace, bar: tqdm) -> None:
    """Train one; what fails is recorded by the tracker, and the next one has its turn."""
    folder = new_folder(options.output, config.name)
    try:
        with (
            np.errstate(over="ignore", invalid="ignore"),
            ExperimentTracker(
                experiment_dir=folder,
                experiment_id=folder.name,
                experiment_name=config.name,
                config=config,
                catalog=options.catalog,
            ) as tracker,
        ):
            best = train(config, data, tracker, folder, bar.update)
    except FloatingPointError as error:
        bar.write(f"  {config.name:<18} failed: {error}")
    else:
        bar.write(f"  {config.name:<18} IoU {best.iou:.3f}, Dice {best.dice:.3f}")


def new_folder(output: Path, name: str) -> Path:
    """A folder of the experiment's own: its name is the experiment's id."""
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
    folder, count = output / stem, 1
    while True:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            count += 1
            folder = output / f"{stem}-{count}"
        else:
            return folder


def read_configs(options: argparse.Namespace) -> list[DictConfig]:
    """Each experiment's config over base.yaml, and the command line over both."""
    given = {
        "seed": options.seed,
        "training.epochs": options.epochs,
        "data.source": options.data and options.data.resolve().name,
        "data.folder": options.data and str(options.data),
    }
    base = OmegaConf.load(CONFIGS / "base.yaml")
    configs = []
    for path in sorted(CONFIGS.glob("[0-9]*.yaml")):
        config = OmegaConf.merge(base, OmegaConf.load(path))
        for name, value in given.items():
            if value is not None:
                OmegaConf.update(config, name, value)
        configs.append(config)
    return configs


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dev.py demo", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        type=Path,
        help="photographs and masks laid out like CrackForest",
    )
    parser.add_argument(
        "--catalog",
        metavar="PATH",
        type=Path,
        default=Path("demo-output", "catalog.db"),
        help="the catalog's file (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        type=Path,
        default=Path("demo-output", "experiments"),
        help="where the experiments' folders go (default: %(default)s)",
    )
    parser.add_argument("--epochs", metavar="N", type=positive, help="epochs of each experiment")
    parser.add_argument("--seed", metavar="N", type=natural, help="of data and weights")
    return parser.parse_args()


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def natural(text: str) -> int:
    if (number := int(text)) < 0:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
