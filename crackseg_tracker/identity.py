"""Whether two experiments are the same: the digest of a config without what does not make a difference.

Seeds, paths, names and the machine are left out, because training again elsewhere, or with another seed, is training
the same. What is left out is said by patterns, as in ``.gitignore``: one without a dot is compared with each part of
a dotted name ("seed" means ``seed``, ``training.seed`` and ``data.seed``), one with a dot with the name from its
beginning ("training.seed" means only that). ``*`` stands for any characters. What a pattern means includes all
below it: "paths" leaves out ``paths.data`` and ``paths[0]``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, cast

from crackseg_tracker.errors import InvalidTypeError, InvalidValueError
from crackseg_tracker.values import checked_text

#: What chance decides.
SEEDS: Final = ("seed", "*_seed")
#: Where things lie, what they are called, and what the machine is like.
SURROUNDINGS: Final = (
    "dir",
    "*_dir",
    "folder",
    "*_folder",
    "path",
    "*_path",
    "paths",
    "root",
    "*_root",
    "hydra",
    "experiment_id",
    "experiment_name",
    "run_name",
    "device",
    "num_workers",
    "pin_memory",
)
#: What the identity of an experiment leaves out, unless told otherwise.
IDENTITY_IGNORES: Final = (*SEEDS, *SURROUNDINGS)

#: How a character that has a meaning in dotted names is written where it is part of a key.
ESCAPED_IN_NAMES: Final = str.maketrans({c: f"\\{c}" for c in "\\.[]"})


def checked_patterns(patterns: Iterable[str], what: str) -> tuple[str, ...]:
    """Check patterns of names.

    Raises:
        InvalidTypeError, InvalidValueError: Names the one that is none.
    """
    if patterns is IDENTITY_IGNORES:  # of every tracker that is told nothing else
        return IDENTITY_IGNORES
    if isinstance(patterns, (str, bytes)):
        raise InvalidTypeError(f"{what} {patterns!r} is a single {type(patterns).__name__}; give a list of patterns")
    try:
        given = tuple(patterns)
    except TypeError as error:
        raise InvalidTypeError(
            f"{what} {patterns!r} is a {type(patterns).__name__}; give a list of patterns"
        ) from error
    for pattern in given:
        if checked_text(pattern, what).strip("*.") == "":
            raise InvalidValueError(f"{what} {pattern!r} would leave out everything; name a param")
    return given


@lru_cache(maxsize=64)
def pattern_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Write several patterns as one regular expression, to be searched for in a dotted name.

    Example:
        >>> [bool(pattern_of(("seed", "model.*.dropout")).search(name)) for name in
        ...  ("training.seed", "seeds", "model.head.dropout", "dropout")]
        [True, False, True, False]
    """
    if not patterns:
        return re.compile(r"(?!)")  # matches nothing
    parts = [_spelled(pattern, r"[^.\[]*") for pattern in patterns if not re.search(r"[.\[]", pattern)]
    names = [_spelled(pattern, ".*") for pattern in patterns if re.search(r"[.\[]", pattern)]
    starts = [rf"(?:^|(?<!\\)\.)(?:{'|'.join(parts)})"] if parts else []
    starts += [f"^(?:{'|'.join(names)})"] if names else []
    return re.compile(rf"(?:{'|'.join(starts)})(?=$|[.\[])", re.DOTALL)


def _spelled(pattern: str, wild: str) -> str:
    return wild.join(re.escape(text) for text in pattern.split("*"))


def identity_of(config: str, ignores: tuple[str, ...] = IDENTITY_IGNORES) -> str:
    """Digest what of a stored config makes a difference.

    Args:
        config: Its canonical JSON (`config.CapturedConfig.text`).
        ignores: Patterns of the names to leave out.

    Returns:
        A hexadecimal SHA-256; "" when nothing is left to tell experiments apart.

    Example:
        >>> identity_of('{"lr":0.1,"seed":1}') == identity_of('{"lr":0.1,"output_dir":"x","seed":2}')
        True
        >>> identity_of('{"lr":0.1,"seed":1}') == identity_of('{"lr":0.2,"seed":1}')
        False
        >>> identity_of('{"seed":1}')
        ''
    """
    ignored = pattern_of(ignores).search
    kept = [leaf for leaf in _leaves(json.loads(config), "") if not ignored(leaf[0])]
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest() if kept else ""


def _leaves(node: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Go through the leaves in the order of the canonical text, which is that of the sorted keys."""
    if isinstance(node, dict) and node:
        for key, value in cast("Mapping[str, Any]", node).items():
            escaped = key.translate(ESCAPED_IN_NAMES)
            yield from _leaves(value, f"{name}.{escaped}" if name else escaped)
    elif isinstance(node, list) and node:
        for i, value in enumerate(cast("list[Any]", node)):
            yield from _leaves(value, f"{name}[{i}]")
    elif name:
        yield name, node
