"""What a training in PyTorch gives: tensors of any dtype, on any device there is. Runs where PyTorch is installed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import ask

from crackseg_tracker import ExperimentTracker
from crackseg_tracker.errors import InvalidTypeError, MetricError

torch = pytest.importorskip("torch", reason="PyTorch, which never comes with this library, is not installed")

NewTracker = Callable[..., ExperimentTracker]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
WHOLE = ["bool", "uint8", "int8", "int16", "int32", "int64"]
REAL = ["float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", WHOLE + REAL)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_tensor_of_one_element_is_a_number(
    new_tracker: NewTracker, catalog_path: Path, dtype: str, device: str, shape: tuple[int, ...]
) -> None:
    given = 1 if dtype in WHOLE else 0.375  # which all of them hold exactly
    value = torch.full(shape, given, device=device).to(getattr(torch, dtype))
    tracker = new_tracker()
    for step in (0, 1):  # the long way, and the short one
        tracker.log_metrics({"loss": value, "lr": 0.1}, step=step)
    assert ask(catalog_path, "SELECT value FROM metrics WHERE metric = 'loss'") == [(float(given),)] * 2


def test_a_loss_with_its_gradient_and_odd_values(new_tracker: NewTracker, catalog_path: Path) -> None:
    weight = torch.tensor(0.5, requires_grad=True)
    tracker = new_tracker()
    for value in (
        (weight * 3).sum(),
        torch.nn.Parameter(torch.tensor(2.0)),
        torch.tensor(-0.0),
        torch.tensor(math.inf),
    ):
        tracker.log_metrics({"loss": value})
    tracker.log_metrics({"loss": torch.tensor(math.nan)})
    found = [value for (value,) in ask(catalog_path, "SELECT value FROM metrics ORDER BY step")]
    assert found == [1.5, 2.0, 0.0, math.inf, None]
    assert math.copysign(1, found[2]) == -1


@pytest.mark.parametrize("dtype", [*WHOLE[1:], "float16", "bfloat16", "float32", "float64"])
def test_a_curve_of_a_tensor(new_tracker: NewTracker, catalog_path: Path, dtype: str) -> None:
    tracker = new_tracker()
    values = torch.tensor([1, 2, 3]).to(getattr(torch, dtype))
    tracker.log_history("loss", torch.arange(3), values)
    tracker.log_metrics({"loss": values}, step=3)
    assert ask(catalog_path, "SELECT step, value FROM metrics") == [(n, float(n % 3 + 1)) for n in range(6)]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (torch.tensor([0.1, 0.2]), r"'loss'.*Tensor of shape \(2,\)"),
        (torch.tensor(1j), "'loss'.*complex"),
        (torch.tensor(0.5, device="meta"), "'loss'.*Tensor"),
    ],
)
def test_what_is_no_number_is_named(new_tracker: NewTracker, catalog_path: Path, value: Any, named: str) -> None:
    tracker = new_tracker()
    with pytest.raises(MetricError, match=named):
        tracker.log_metrics({"ok": 1.0, "loss": value})
    with pytest.raises(MetricError, match=r"'loss'.*series"):
        tracker.log_history("loss", range(3), torch.ones(3, device="meta"))
    assert ask(catalog_path, "SELECT count(*) FROM metrics") == [(0,)]


def test_a_step_may_be_a_tensor_and_no_truth_value(new_tracker: NewTracker, catalog_path: Path) -> None:
    tracker = new_tracker()
    tracker.log_metrics({"loss": 0.5}, step=torch.tensor(7))
    with pytest.raises(InvalidTypeError, match="bool"):
        tracker.log_metrics({"loss": 0.5}, step=torch.tensor(True))
    with pytest.raises(InvalidTypeError, match=r"1\.5"):
        tracker.log_metrics({"loss": 0.5}, step=torch.tensor(1.5))
    assert ask(catalog_path, "SELECT step FROM metrics") == [(7,)]
