import importlib
import subprocess
import sys

import pytest

import crackseg_tracker


def test_names_are_sorted_and_unique() -> None:
    assert crackseg_tracker.__all__ == sorted(set(crackseg_tracker.__all__))


@pytest.mark.parametrize("name", crackseg_tracker.__all__)
def test_every_name_loads(name: str) -> None:
    assert getattr(crackseg_tracker, name) is not None
    assert name in dir(crackseg_tracker)


def test_errors_are_one_tree() -> None:
    errors = [name for name in crackseg_tracker.__all__ if name.endswith("Error")]
    assert errors
    for name in errors:
        error = getattr(crackseg_tracker, name)
        assert issubclass(error, crackseg_tracker.TrackerError)
        assert error.__doc__
        assert getattr(importlib.import_module("crackseg_tracker.errors"), name) is error


def test_every_error_is_public() -> None:
    module = importlib.import_module("crackseg_tracker.errors")
    found = {name for name, value in vars(module).items() if isinstance(value, type)}
    assert found <= set(crackseg_tracker.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Trackr"):
        _ = crackseg_tracker.Trackr


@pytest.mark.parametrize("statement", ["import crackseg_tracker", "import crackseg_tracker; dir(crackseg_tracker)"])
def test_import_loads_nothing_heavy(statement: str) -> None:
    heavy = ["sqlalchemy", "sqlmodel", "alembic", "omegaconf", "pandas", "platformdirs", "numpy", "torch"]
    code = f"{statement}\nimport sys\nprint([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
