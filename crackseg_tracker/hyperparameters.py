"""The hyperparameters that everybody has: where real Hydra configurations keep them, and what else they are called."""

from __future__ import annotations

import math
from typing import Any, Final, cast


def _named(*places: str) -> tuple[str, ...]:
    """The places of a thing that is given as a string or as a mapping that names it."""
    return tuple(place + suffix for place in places for suffix in ("", "._target_", ".name", ".type"))


# Where the hyperparameters stand in real Hydra configurations, the more specific place first.
_PLACES: Final[dict[str, tuple[str, ...]]] = {
    "epochs": (
        "training.epochs",
        "training.num_epochs",
        "training.max_epochs",
        "trainer.max_epochs",
        "trainer.epochs",
        "epochs",
        "num_epochs",
        "max_epochs",
    ),
    "batch_size": (
        "training.batch_size",
        "data.batch_size",
        "data.dataloader.batch_size",
        "dataloader.batch_size",
        "batch_size",
    ),
    "learning_rate": (
        "training.learning_rate",
        "training.lr",
        "training.optimizer.lr",
        "training.optimizer.learning_rate",
        "optimizer.lr",
        "optimizer.learning_rate",
        "model.optimizer.lr",
        "learning_rate",
        "lr",
    ),
    "optimizer": _named("training.optimizer", "optimizer", "model.optimizer"),
    "loss": _named("training.loss", "loss", "model.loss", "criterion"),
    "model_type": (
        "model._target_",
        "model.name",
        "model.type",
        "model.model_type",
        "model",
        "model_type",
    ),
    "encoder": (*_named("model.encoder"), "model.encoder_name", *_named("encoder")),
    "decoder": (*_named("model.decoder"), "model.decoder_name", *_named("decoder")),
    "dataset": (*_named("data.dataset", "dataset"), "data.name", "data._target_", "data"),
    "data_root": (
        "data.data_root",
        "data.root",
        "data.root_dir",
        "data.path",
        "data.dataset.root",
        "dataset.root",
        "data_root",
    ),
}
_NUMERIC: Final = frozenset({"epochs", "batch_size", "learning_rate"})
# Said of everything in a config: no name of a hyperparameter.
_NAMES_OF_ANYTHING: Final = frozenset({"_target_", "name", "type", "path"})


def found_in(tree: dict[str, Any]) -> dict[str, Any]:
    """Give the hyperparameters that a resolved configuration has, by their usual names.

    Example:
        >>> found_in({"optimizer": {"_target_": "torch.optim.AdamW", "lr": "1e-3"}})
        {'learning_rate': '1e-3', 'optimizer': 'torch.optim.AdamW'}
    """
    summary: dict[str, Any] = {}
    for key, places in _PLACES.items():
        for place in places:
            value = _shown(_lookup(tree, place), is_number=key in _NUMERIC)
            if value is not None:
                summary[key] = value
                break
    return summary


def other_names(name: str) -> frozenset[str]:
    """Give what configurations also call a hyperparameter.

    Example:
        >>> sorted(other_names("lr"))
        ['learning_rate']
    """
    for places in _PLACES.values():
        names = {place.rpartition(".")[2] for place in places} - _NAMES_OF_ANYTHING
        if name in names:
            return frozenset(names - {name})
    return frozenset()


def _lookup(tree: dict[str, Any], place: str) -> Any:
    node: Any = tree
    for key in place.split("."):
        if not isinstance(node, dict):
            return None
        node = cast(dict[str, Any], node).get(key)
    return node


def _shown(value: Any, *, is_number: bool) -> Any:
    """Return the value if it is one that a table can show, else None."""
    if isinstance(value, str):
        # YAML reads 1e-3 as a string; it is a learning rate all the same.
        return value or None
    if not is_number or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else None
    return value if isinstance(value, float) and math.isfinite(value) else None
