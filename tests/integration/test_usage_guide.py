"""The calls of the usage guide, in its order, and what another process then reads with nothing but sqlite3."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from crackseg_tracker import ExperimentTracker

READER = """
import json, sqlite3, sys
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
connection.row_factory = sqlite3.Row
views = ["experiments", "artifacts", "artifact_tags", "experiment_tags", "params", "metric_bests", "status_changes",
         "attempts"]
answer = {view: [dict(row) for row in connection.execute(f"SELECT * FROM {view}")] for view in views}
assert not any(name.startswith("crackseg") for name in sys.modules)
print(json.dumps(answer))
"""


def test_the_guide_from_start_to_end(tmp_path: Path, catalog_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Initialization
    config = OmegaConf.create(
        {
            "training": {"epochs": 100, "batch_size": 16, "learning_rate": 0.001},
            "model": {"_target_": "src.model.UNet"},
        }
    )
    folder = tmp_path / "outputs" / "experiments" / "20241201-120000-my_experiment"
    tracker = ExperimentTracker(
        experiment_dir=folder,
        experiment_id="20241201-120000-my_experiment",
        experiment_name="my_experiment",
        config=config,
        auto_save=True,
        catalog=catalog_path,
    )

    # Lifecycle
    tracker.start_experiment()
    tracker.update_training_progress(
        current_epoch=5,
        total_epochs=100,
        best_metrics={"iou": 0.85, "dice": 0.90},
        training_time_seconds=3600.0,
    )
    tracker.complete_experiment()
    try:
        raise RuntimeError("out of memory")
    except RuntimeError as error:
        tracker.fail_experiment(f"Training failed: {error}")

    # Artifacts, none of which exists
    checkpoint = "outputs/experiments/exp-001/checkpoints/model_best.pth"
    metrics_file = "outputs/experiments/exp-001/metrics/final_metrics.json"
    picture = "outputs/experiments/exp-001/results/visualizations/training_curves.png"
    tracker.add_artifact(
        artifact_id="model-best",
        artifact_type="checkpoint",
        file_path=checkpoint,
        description="highest IoU in validation",
        tags=["best", "model", "checkpoint"],
    )
    tracker.add_artifact(
        artifact_id="metrics-final",
        artifact_type="metrics",
        file_path=metrics_file,
        description="metrics at the end",
        tags=["metrics", "final"],
    )
    tracker.add_artifact(
        artifact_id="viz-training",
        artifact_type="visualization",
        file_path=picture,
        description="curves",
        tags=["visualization", "training"],
    )

    # Metadata
    metadata = tracker.get_metadata()
    print(metadata.experiment_name, metadata.status, metadata.best_metrics.get("iou", "N/A"))
    assert capsys.readouterr().out == "my_experiment failed 0.85\n"
    as_dictionary = tracker.get_metadata_dict()
    assert json.loads(json.dumps(as_dictionary)) == as_dictionary
    assert as_dictionary["config_summary"] == {
        "epochs": 100,
        "batch_size": 16,
        "learning_rate": 0.001,
        "model_type": as_dictionary["config_summary"]["model_type"],
    }
    assert "UNet" in as_dictionary["config_summary"]["model_type"]
    tracker.update_description("U-Net with attention")
    tracker.add_tags(["attention", "improved"])
    tracker.remove_tags(["old_tag"])
    summary = tracker.get_experiment_summary()
    assert summary["artifact_count"] == 3
    assert summary["training_time_seconds"] == 3600.0

    # Artifacts by type
    assert tracker.get_artifacts_by_type("checkpoint") == [checkpoint]
    assert tracker.get_artifacts_by_type("metrics") == [metrics_file]
    assert tracker.get_artifacts_by_type("visualization") == [picture]
    assert tracker.get_artifacts_by_type("unheard-of") == []

    # Practices: start early, progress in the loop, an artifact as soon as it is there, tags, failures
    tracker.start_experiment()
    best: dict[str, float] = {}
    for epoch in range(3):
        best["iou"] = max(best.get("iou", 0.0), 0.8 + epoch / 20)
        tracker.update_training_progress(current_epoch=epoch, total_epochs=3, best_metrics=best)
        path = folder / f"checkpoint-{epoch}.pth"
        path.write_bytes(bytes([epoch]))
        tracker.add_artifact(artifact_id=f"checkpoint-{epoch}", artifact_type="checkpoint", file_path=str(path))
    tracker.add_tags(["attention", "improved", "final"])

    def train() -> None:
        try:
            raise ValueError("nan in the loss")
        except Exception as error:
            tracker.fail_experiment(f"Training failed: {error}")
            raise

    with pytest.raises(ValueError, match="nan in the loss"):
        train()

    # Another process, which knows sqlite3 only
    done = subprocess.run(
        [sys.executable, "-I", "-c", READER, str(catalog_path)], capture_output=True, text=True, check=True
    )
    read = json.loads(done.stdout)

    [experiment] = read["experiments"]
    wanted = {
        "experiment_id": "20241201-120000-my_experiment",
        "experiment_name": "my_experiment",
        "project": "default",
        "status": "failed",
        "description": "U-Net with attention",
        "current_epoch": 2,
        "total_epochs": 3,
        "training_time_seconds": 3600.0,
        "error_message": "Training failed: nan in the loss",
        "experiment_dir": str(folder),
    }
    assert {key: experiment[key] for key in wanted} == wanted
    for moment in ("created_at", "started_at", "completed_at", "updated_at"):
        assert experiment[moment].endswith("+00:00")

    artifacts = {row["artifact_id"]: row for row in read["artifacts"]}
    assert list(artifacts) == [
        "model-best",
        "metrics-final",
        "viz-training",
        "checkpoint-0",
        "checkpoint-1",
        "checkpoint-2",
    ]
    assert artifacts["model-best"]["path"] == checkpoint
    assert artifacts["model-best"]["description"] == "highest IoU in validation"
    assert artifacts["model-best"]["digest_state"] == "missing"
    assert artifacts["checkpoint-1"]["digest_state"] == "hashed"
    assert artifacts["checkpoint-1"]["size_bytes"] == 1
    assert artifacts["checkpoint-1"]["inside_path"] == "checkpoint-1.pth"

    assert {(row["artifact_id"], row["tag"]) for row in read["artifact_tags"]} == {
        ("model-best", "best"),
        ("model-best", "model"),
        ("model-best", "checkpoint"),
        ("metrics-final", "metrics"),
        ("metrics-final", "final"),
        ("viz-training", "visualization"),
        ("viz-training", "training"),
    }
    assert {row["tag"] for row in read["experiment_tags"]} == {"attention", "improved", "final"}
    assert {row["name"]: (row["value"], row["source"]) for row in read["params"]} == {
        "training.epochs": (100, "config"),
        "training.batch_size": (16, "config"),
        "training.learning_rate": (0.001, "config"),
        "model._target_": ("src.model.UNet", "config"),
    }
    assert {row["metric"]: (row["value"], row["step"], row["source"]) for row in read["metric_bests"]} == {
        "iou": (pytest.approx(0.9), 2, "reported"),
        "dice": (0.9, 5, "reported"),
    }
    changes = sorted(read["status_changes"], key=lambda row: row["changed_at"])
    assert [row["status"] for row in changes] == ["created", "running", "completed", "failed", "running", "failed"]
    assert changes[3]["message"] == "Training failed: out of memory"
    assert [row["attempt"] for row in changes] == [None, 1, 1, 1, 2, 2]
    assert [(row["attempt"], row["config_changes"]) for row in read["attempts"]] == [(1, "{}"), (2, "{}")]
