import sys
from types import SimpleNamespace

import pytest

from crackseg_tracker.ranks import current_rank

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "SLURM_PROCID", "SLURM_NTASKS")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        ("", None),
        ("WORLD_SIZE=4 RANK=0", 0),
        ("WORLD_SIZE=4 RANK=3", 3),
        ("WORLD_SIZE=4 RANK=3 LOCAL_RANK=0", 3),
        ("WORLD_SIZE=1 RANK=0", None),
        ("WORLD_SIZE=1 RANK=1", None),
        ("RANK=1", None),
        ("WORLD_SIZE=4 LOCAL_RANK=2", 2),
        ("WORLD_SIZE=4 NODE_RANK=0 LOCAL_RANK=0", 0),
        ("WORLD_SIZE=8 NODE_RANK=1 LOCAL_RANK=0 LOCAL_WORLD_SIZE=4", 4),
        ("WORLD_SIZE=8 NODE_RANK=1 LOCAL_RANK=2 LOCAL_WORLD_SIZE=4", 6),
        ("WORLD_SIZE=2 NODE_RANK=1 LOCAL_RANK=0", 1),
        ("WORLD_SIZE=4", None),
        ("SLURM_PROCID=3 SLURM_NTASKS=8", None),  # independent jobs of an array have it too
        ("WORLD_SIZE=four RANK=3", None),
        ("WORLD_SIZE=4 RANK=-1 LOCAL_RANK=1", 1),
    ],
)
def test_the_launchers_variables_tell_the_rank(
    monkeypatch: pytest.MonkeyPatch, variables: str, rank: int | None
) -> None:
    for pair in variables.split():
        monkeypatch.setenv(*pair.split("="))
    assert current_rank() == rank


def torch_of(rank: int, size: int, *, initialised: bool = True) -> SimpleNamespace:
    return SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: initialised,
        get_rank=lambda: rank,
        get_world_size=lambda: size,
    )


def test_torch_outranks_the_variables_once_it_is_initialised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setitem(sys.modules, "torch.distributed", torch_of(1, 2))  # type: ignore[arg-type]
    assert current_rank() == 1
    monkeypatch.setitem(sys.modules, "torch.distributed", torch_of(0, 1))  # type: ignore[arg-type]
    assert current_rank() is None
    monkeypatch.setitem(sys.modules, "torch.distributed", torch_of(1, 2, initialised=False))  # type: ignore[arg-type]
    assert current_rank() == 3


def test_a_torch_that_is_half_imported_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.distributed", SimpleNamespace())  # type: ignore[arg-type]
    assert current_rank() is None
