"""How the peers do: each logs the same calls, in an environment of its own, with raw beside it."""

from __future__ import annotations

import json
from statistics import median

from benchmarks.harness import CALLS, Bench, Raw, Row, python, random_metrics, timed_calls

#: The loop around a peer's begin and its call is the same for all.
PEER = """
import importlib.metadata, json, os, random, statistics, sys, time
folder, peer = sys.argv[1:]
os.chdir(folder)
{}
taken = []
for step in range(2000):
    metrics = {{name: random.random() for name in ("loss", "val/iou", "val/dice")}}
    start = time.perf_counter()
    {}
    taken.append(time.perf_counter() - start)
try:
    version = importlib.metadata.version(peer)
except importlib.metadata.PackageNotFoundError:
    version = ""
print("\\n" + json.dumps([statistics.median(taken), version]), flush=True)
os._exit(0)
"""
#: How each begins, and how it logs one call.
PEERS = {
    "mlflow": (
        "import mlflow\nmlflow.set_tracking_uri(f'sqlite:///{folder}/mlflow.db')\nmlflow.start_run()",
        "mlflow.log_metrics(metrics, step=step, synchronous=True)",
    ),
    "trackio": (
        "os.environ['TRACKIO_DIR'] = folder\nimport trackio\ntrackio.init(project='benchmark')",
        "trackio.log(metrics, step=step)",
    ),
    "tensorboardX": (
        "from tensorboardX import SummaryWriter\nwriter = SummaryWriter(folder)",
        "[writer.add_scalar(name, value, step) for name, value in metrics.items()]",
    ),
    "wandb": (
        "os.environ['WANDB_MODE'] = 'offline'\nimport wandb\nrun = wandb.init(dir=folder)",
        "run.log(metrics, step=step)",
    ),
    "aim": (
        "from aim import Run\nrun = Run(repo=folder, system_tracking_interval=None)",
        "[run.track(value, name=name, step=step) for name, value in metrics.items()]",
    ),
}


def peer(bench: Bench, name: str, interpreter: str) -> Row:
    """Let a peer do the 2,000 calls, in its own environment, with raw beside it."""
    script = PEER.format(*PEERS[name])
    block = [random_metrics(step) for step in range(CALLS)]

    version = ""

    def theirs() -> float:
        nonlocal version
        folder = bench.new_path().parent
        taken, version = json.loads(python(script, folder, name, interpreter=interpreter).splitlines()[-1])
        return taken

    sides = bench.taking_turns(
        bench.size(3, 1),
        raw=lambda: median(timed_calls(Raw(bench.new_path()).log, block, 0)),
        theirs=theirs,
    )
    return Row(f"{name} {version}".strip(), sides["raw"], sides["theirs"], "s", None)
