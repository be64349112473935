"""Make ``version-1.catalog.gz``: a catalog as the first release (schema version 1) left it, with every table filled.

Run it with the code of commit 8ff6c04, the last one of schema version 1::

    git worktree add /tmp/version-1 8ff6c04
    PYTHONPATH=/tmp/version-1 python tests/golden/make_version_1.py tests/golden/version-1.catalog.gz
"""

from __future__ import annotations

import gzip
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from crackseg_tracker import ExperimentTracker, environment, schema

#: Facts of a machine that does not exist, instead of those of whoever runs this.
MACHINE = environment.Environment(
    python_version="3.11.7",
    platform="Linux-6.1",
    hostname="trainer",
    username="user",
    memory_gb=62.5,
    cpu_count=16,
    pytorch_version="2.5.1",
    cuda_available=True,
    cuda_version="12.4",
    gpu_info={"count": 1, "current": 0, "name": "A GPU"},
    git_commit="0123456789abcdef0123456789abcdef01234567",
    git_branch="main",
    git_dirty=True,
    git_remote="https://example.org/crackseg.git",
    git_diff="-learning_rate: 0.01\n+learning_rate: 0.001\n",
    packages={"numpy": "1.26.4", "torch": "2.5.1"},
)
PROCESS = environment.ProcessFacts(
    hostname="trainer",
    boot_id="11111111-2222-3333-4444-555555555555",
    pid_namespace="pid:[4026531836]",
    pid=4711,
    process_started="123456",
    username="user",
    command_line="python train.py",
)
FOLDER = Path("/tmp/crackseg-golden")

CONFIG = {
    "training": {"epochs": 3, "learning_rate": 0.001, "seed": 7, "amp": True},
    "model": {"encoder": "resnet34", "depth": 5, "dropout": None},
    "api_key": "a secret that is redacted",
}


def fill(folder: Path, catalog: Path) -> None:
    """Fill every table: ended experiments, a rewound one, one that never started."""
    (folder / "best.pth").write_bytes(b"weights")
    with ExperimentTracker(
        folder / "done", "done", "unet", CONFIG, catalog=catalog, project="roads", group="a"
    ) as done:
        done.define_metric("val/iou", "max", unit="1", description="intersection over union")
        for step in range(600):
            done.log_metrics({"train/loss": 1 / (step + 1), "val/iou": step / 1000}, step=step)
        done.log_metrics({"odd": math.nan, "negative zero": -0.0, "infinite": -math.inf}, step=0)
        done.log_samples({"image_017": {"iou": 0.81}, "image_018": {"iou": 0.5}}, step=2)
        done.update_training_progress(3, 3, {"val/iou": 0.75}, training_time_seconds=12.5)
        done.add_tags(["baseline", "naïve ☃"])
        done.add_artifact("best", "checkpoint", folder / "best.pth", "the best", tags=["best", "keep"])
        done.log_params({"optimizer": {"name": "adam"}})
        done.update_description("the first one")
        done.rewind(589)
    failed = ExperimentTracker(folder / "failed", "failed", config={"model": {"depth": 3}}, catalog=catalog)
    failed.start_experiment()
    failed.log_metrics({"train/loss": math.nan}, step=0)
    failed.fail_experiment("FloatingPointError: the loss became nan")  # a traceback would tell of this machine
    ExperimentTracker(folder / "resumed", "resumed", config={"a": 1}, catalog=catalog).abort_experiment("for lunch")
    with ExperimentTracker(folder / "resumed", "resumed", config={"a": 2}, catalog=catalog) as resumed:
        resumed.log_metrics({"val/iou": 0.25}, step=4)
    ExperimentTracker(folder / "created", "created", catalog=catalog)


def be_killed(folder: Path, catalog: Path) -> None:
    """Die in the middle of a training, with recent points that were not folded."""
    tracker = ExperimentTracker(folder / "killed", "killed", config=CONFIG, catalog=catalog)
    tracker.start_experiment()
    for step in range(20):
        tracker.log_metrics({"train/loss": 2 / (step + 1), "val/iou": step / 100}, step=step)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Make the catalog, have a reader fold its write-ahead log in, and pack it."""
    assert schema.VERSION == 1, f"this is schema version {schema.VERSION}; see the docstring"
    environment.capture = lambda directory=None: MACHINE
    environment.process_facts = lambda: PROCESS
    catalog = FOLDER / "catalog" / "catalog.db"
    if sys.argv[1] == "die":
        be_killed(FOLDER, catalog)
    FOLDER.mkdir()
    try:
        fill(FOLDER, catalog)
        subprocess.run([sys.executable, __file__, "die"], check=False)
        ExperimentTracker(FOLDER / "created", "created", catalog=catalog)._database.close()
        assert not catalog.with_name("catalog.db-wal").exists()
        Path(sys.argv[1]).write_bytes(gzip.compress(catalog.read_bytes(), mtime=0))
    finally:
        shutil.rmtree(FOLDER)


if __name__ == "__main__":
    main()
