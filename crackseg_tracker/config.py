"""Turn a configuration into what the database stores: canonical text, digest, parameters, summary.

A configuration is a plain mapping or an OmegaConf `DictConfig`. It goes through three steps:
`_Resolver` makes a tree of plain values out of it, `_redact_tree` takes the secrets out of that
tree, and everything else is derived from what is left, so that nothing can be derived from a
secret. OmegaConf is only imported for a plain mapping that holds an interpolation; a `DictConfig`
can only exist when its user has imported it already.
"""

import base64
import contextlib
import datetime
import decimal
import enum
import hashlib
import json
import math
import pathlib
import sys
import types
import uuid
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from crackseg_tracker import hyperparameters
from crackseg_tracker.errors import ConfigError
from crackseg_tracker.identity import ESCAPED_IN_NAMES, IDENTITY_IGNORES, identity_of
from crackseg_tracker.redaction import Redactor

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["CapturedConfig", "Param", "capture", "flatten", "param_differences"]

# OmegaConf itself fails somewhat below this depth, and json not far above it.
_MAX_DEPTH: Final = 100
# A few interpolations to containers can multiply into billions of values.
_MAX_VALUES: Final = 1_000_000
_MAX_ARRAY: Final = 10_000
# Python refuses to print integers above 4300 decimal digits.
_MAX_INT_BITS: Final = 14_000

_CONTAINERS: Final[tuple[type, ...]] = (Mapping, list, tuple, set, frozenset)
_MISSING: Final = "???"
_INTERPOLATION: Final = "${"
_SELF_DESCRIBING: Final = (
    datetime.date,  # and datetime, its subclass
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
    pathlib.PurePath,
)
_FUNCTIONS: Final = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
)
_TAGS: Final = frozenset({"$float", "$bytes", "$int", "$dict"})
# Types whose str() is a stable name; known by name because importing their package is slow.
_NAMED_TYPES: Final = frozenset({("torch", "dtype"), ("torch", "device"), ("numpy", "dtype")})
_ACCEPTED: Final = (
    "accepted are None, bool, int, float, str, bytes, mappings, lists, tuples, sets, paths, enums, "
    "dates, Decimal, UUID, classes, functions, and numpy or torch scalars and small arrays; "
    "convert it, for example with str()"
)


class Param(NamedTuple):
    """One leaf of a configuration.

    Attributes:
        name: Dotted name, such as `model.layers[0].units`; a dot, bracket or backslash that is
            part of a key is escaped by a backslash.
        type: One of str, int, float, bool, null, bytes, missing, dict and list. The last two are
            for empty containers only.
        value: The value as SQL can compare it.
        text: The value as text, exact.
    """

    name: str
    type: str
    value: float | int | str | None
    text: str


class CapturedConfig(NamedTuple):
    """A configuration, resolved, redacted and ready to be stored.

    Attributes:
        text: Canonical JSON: equal configurations have equal texts. What JSON lacks is tagged:
            `{"$float": "nan"}`, `{"$bytes": base64}`, `{"$int": hex}` beyond 4200 digits, and
            `{"$dict": {...}}` around a mapping that looks like one of these four.
        sha256: Hexadecimal digest of `text`.
        params: Every leaf, in the order of the configuration.
        summary: The well-known hyperparameters that were found, such as `learning_rate`.
        missing: Names of the values that are `???` or cannot be resolved.
        project_name: The top-level `project_name`, if there is one.
        identity_sha256: Hexadecimal digest of what makes a difference; see `crackseg_tracker.identity`.
    """

    text: str
    sha256: str
    params: tuple[Param, ...]
    summary: dict[str, Any]
    missing: tuple[str, ...]
    project_name: str | None
    identity_sha256: str = ""


class _Missing:
    """A value that is not there; `expression` is what stands in its place."""

    __slots__ = ("expression",)

    def __init__(self, expression: str) -> None:
        self.expression = expression


class _Literal:
    """A string that is resolved already, although it looks like an interpolation."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def capture(
    config: "Mapping[Any, Any] | DictConfig | None",
    redactor: Redactor,
    identity_ignores: tuple[str, ...] = IDENTITY_IGNORES,
) -> CapturedConfig:
    """Resolve, redact and flatten a configuration.

    Args:
        config: A mapping, possibly nested, or a `DictConfig`; it is not modified. None is an
            empty one. Values that are `???` or cannot be resolved are recorded as missing.
        redactor: Takes the secrets out before anything is derived.
        identity_ignores: Patterns of the names that the identity leaves out.

    Returns:
        What the database stores.

    Raises:
        ConfigError: If the configuration is not a mapping, holds itself, is nested too deeply,
            or holds a value that cannot be stored faithfully.

    Example:
        >>> captured = capture({"training": {"lr": 0.1, "seed": "???"}}, Redactor())
        >>> captured.text
        '{"training":{"lr":0.1,"seed":null}}'
        >>> captured.summary, captured.missing
        ({'learning_rate': 0.1}, ('training.seed',))
    """
    if config is None:
        return _nothing(identity_ignores)
    return _captured(_plain_tree(config, redactor), identity_ignores)


@cache
def _nothing(identity_ignores: tuple[str, ...]) -> CapturedConfig:
    return _captured({}, identity_ignores)


def _captured(tree: dict[str, Any], identity_ignores: tuple[str, ...]) -> CapturedConfig:
    try:
        params = _params(tree)
        text = json.dumps(
            _json_value(tree),
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=True,
            allow_nan=False,
        )
    except RecursionError:
        # Only when the caller has used up most of the stack already.
        raise ConfigError(_too_deep(None)) from None
    project = tree.get("project_name")
    return CapturedConfig(
        text=text,
        sha256=hashlib.sha256(text.encode("ascii")).hexdigest(),
        params=params,
        summary={
            name: _storable(value) if isinstance(value, str) else value
            for name, value in hyperparameters.found_in(tree).items()
        },
        missing=tuple(param.name for param in params if param.type == "missing"),
        project_name=_storable(project) if isinstance(project, str) and project else None,
        identity_sha256=identity_of(text, identity_ignores),
    )


def flatten(mapping: "Mapping[Any, Any] | DictConfig", redactor: Redactor) -> tuple[Param, ...]:
    """Flatten a mapping into parameters, by the same rules as `capture`.

    Args:
        mapping: A mapping, possibly nested, or a `DictConfig`.
        redactor: Takes the secrets out.

    Returns:
        One parameter for each leaf, in the order of the mapping.

    Raises:
        ConfigError: As `capture` does.

    Example:
        >>> [param] = flatten({"layers": [{"units": 64}]}, Redactor())
        >>> param
        Param(name='layers[0].units', type='int', value=64, text='64')
    """
    return _params(_plain_tree(mapping, redactor))


def param_differences(old: Iterable[Param], new: Iterable[Param]) -> dict[str, list[str | None]]:
    """Compare two sets of parameters.

    Args:
        old: Parameters of one configuration.
        new: Parameters of another one.

    Returns:
        For every name whose type or text differs, the old and the new text (None where the
        parameter is absent), sorted by name.

    Example:
        >>> param_differences(flatten({"a": 1}, Redactor()), flatten({"b": 2}, Redactor()))
        {'a': ['1', None], 'b': [None, '2']}
    """
    before = {param.name: param for param in old}
    after = {param.name: param for param in new}
    differences: dict[str, list[str | None]] = {}
    for name in sorted(before.keys() | after.keys()):
        a, b = before.get(name), after.get(name)
        # The type counts too: 1 and "1" are different values with the same text.
        if a is None or b is None or (a.type, a.text) != (b.type, b.text):
            differences[name] = [a.text if a else None, b.text if b else None]
    return differences


# From the user's objects to a tree of plain values


def _plain_tree(config: object, redactor: Redactor) -> dict[str, Any]:
    tree = _resolve(config)
    # First, because a secret may be met in a free text before its own name comes up.
    _remember_secrets(tree, None, redactor)
    return cast(dict[str, Any], _redact(tree, None, redactor))


def _resolve(config: object) -> dict[str, Any]:
    if config is None:
        return {}
    if not isinstance(config, Mapping):
        raise ConfigError(f"the config must be a mapping or a DictConfig, not {_type_name(config)}{_way_out(config)}")
    try:
        resolver = _Resolver()
        tree = resolver.plain(config, None)
        if resolver.found_interpolation:
            tree = _Resolver().plain(_to_omegaconf(tree), None)
    except RecursionError:
        raise ConfigError(_too_deep(None)) from None
    if tree is None:  # DictConfig(None)
        return {}
    if isinstance(tree, _Missing):
        raise ConfigError(f"the config is a DictConfig without content ({tree.expression})")
    return cast(dict[str, Any], tree)


class _Resolver:
    """Makes plain values (dict, list, str, int, float, bool, None, bytes, `_Missing`) of a config.

    Attributes:
        found_interpolation: Whether a plain string holds an interpolation. It is left as it is,
            since its target may be anywhere in the tree that is still being made.
    """

    def __init__(self) -> None:
        self.found_interpolation = False
        self._open: set[int] = set()
        self._count = 0

    def plain(self, value: Any, name: str | None, raw: Any = None) -> Any:
        """Make one value plain.

        Args:
            value: The value.
            name: Its dotted name, None for the whole config.
            raw: For a container of OmegaConf, its content without interpolations resolved, if
                that is known already.

        Returns:
            The plain value, sharing nothing that is mutable with the given one.
        """
        self._count += 1
        if self._count > _MAX_VALUES:
            raise ConfigError(
                f"the config has more than {_MAX_VALUES} values with its interpolations expanded "
                f"(at {_shown(name)}); store large data as a file and log its path"
            )
        if isinstance(value, (_Missing, _Literal)):
            return value
        if isinstance(value, str) and not isinstance(value, enum.Enum):
            text = str.__str__(value)  # an exact str also of a subclass such as numpy.str_
            if text == _MISSING:
                return _Missing(text)
            self.found_interpolation = self.found_interpolation or _INTERPOLATION in text
            return text
        omegaconf = _omegaconf_of(value)
        if omegaconf is None and not isinstance(value, _CONTAINERS):
            return self._scalar(value, name)
        # The open containers are alive, so that their ids are their identities.
        identity = id(cast(object, value))
        if identity in self._open:
            raise ConfigError(_cyclic(name))
        if len(self._open) >= _MAX_DEPTH:
            raise ConfigError(_too_deep(name))
        self._open.add(identity)
        try:
            if omegaconf is not None:
                return self._omegaconf(omegaconf, value, name, raw)
            if isinstance(value, Mapping):
                return self._mapping(cast(Mapping[Any, Any], value), name)
            items = cast(Iterable[Any], value)
            if isinstance(value, (set, frozenset)):
                items = sorted(items, key=repr)
            return [self.plain(item, _item(name, i)) for i, item in enumerate(items)]
        finally:
            self._open.discard(identity)

    def _mapping(self, mapping: Mapping[Any, Any], name: str | None) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key, value in mapping.items():
            text = _new_key(key, tree, name)
            tree[text] = self.plain(value, _join(name, text))
        return tree

    def _omegaconf(self, omegaconf: Any, node: Any, name: str | None, raw: Any) -> Any:
        if raw is None:
            raw = omegaconf.to_container(node, resolve=False)
        if raw is None:
            return None
        if isinstance(raw, str):
            return _Missing(raw)
        if isinstance(raw, Mapping):
            tree: dict[str, Any] = {}
            for key, raw_value in cast(Mapping[Any, Any], raw).items():
                text = _new_key(key, tree, name)
                tree[text] = self._child(omegaconf, node, key, raw_value, _join(name, text))
            return tree
        return [
            self._child(omegaconf, node, i, raw_item, _item(name, i))
            for i, raw_item in enumerate(cast(Iterable[Any], raw))
        ]

    def _child(self, omegaconf: Any, node: Any, key: Any, raw: Any, name: str) -> Any:
        if isinstance(raw, str) and omegaconf.is_missing(node, key):
            return _Missing(raw)
        try:
            value = node[key]
        except Exception as error:
            # Resolvers are code of the user and raise what they like.
            if isinstance(raw, str) and "parent node" not in str(error):
                return _Missing(raw)
            if isinstance(raw, str):
                raise ConfigError(_cyclic(name)) from error
            if isinstance(error, RecursionError):
                raise
            raise ConfigError(f"{_shown(name)} cannot be read: {error}") from error
        if isinstance(value, str) and not isinstance(value, enum.Enum):
            return _literal(str.__str__(value))
        return self.plain(value, name, raw=None if isinstance(raw, str) else raw)

    def _scalar(self, value: Any, name: str | None) -> Any:
        # The exact types first: they are nearly all there is.
        if value is None or type(value) in (bool, int, float, bytes):
            return value
        if isinstance(value, enum.Enum):
            # A combination of flags has no name in some versions of Python.
            member = cast(str | None, value.name)
            return _literal(str(value) if member is None else member)
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):  # numpy.float64 is one
            return float(value)
        if isinstance(value, bytes):
            return bytes(value)
        if isinstance(value, _SELF_DESCRIBING):
            return _literal(str(value))
        if isinstance(value, (type, *_FUNCTIONS)):
            module: str | None = getattr(value, "__module__", None)
            return _literal(f"{module}.{value.__qualname__}" if module else value.__qualname__)
        if any((c.__module__, c.__name__) in _NAMED_TYPES for c in type(value).__mro__):
            return _literal(str(value))
        return self._array(value, name)

    def _array(self, value: Any, name: str | None) -> Any:
        """Make a scalar or array of numpy, torch or a relative of theirs plain."""
        try:
            shape = value.shape
            is_array = isinstance(shape, tuple) and callable(value.tolist) and callable(value.item)
            size = math.prod(cast(tuple[int, ...], shape)) if is_array else 0
        except Exception:
            is_array, size = False, 0
        if not is_array:
            raise ConfigError(_unsupported(value, name))
        if size > _MAX_ARRAY:
            raise ConfigError(
                f"{_shown(name)} is an array of {size} elements; at most {_MAX_ARRAY} are stored "
                "in a config: save it as a file and log its path"
            )
        try:
            plain = value.tolist() if value.shape else value.item()
        except Exception as error:  # such as a tensor on the meta device
            raise ConfigError(_unsupported(value, name)) from error
        if type(plain) is type(value):  # numpy.longdouble has no plain equivalent
            raise ConfigError(_unsupported(value, name))
        return self.plain(plain, name)


def _omegaconf_of(value: object) -> Any:
    """Return the class OmegaConf if the value is a container of it, without importing it."""
    omegaconf = getattr(sys.modules.get("omegaconf"), "OmegaConf", None)
    return omegaconf if omegaconf is not None and omegaconf.is_config(value) else None


def _to_omegaconf(tree: Any) -> Any:
    from omegaconf import OmegaConf

    def create(content: Any) -> Any:
        # The flag admits _Missing and _Literal; all other values are of types it knows.
        return cast(Any, OmegaConf.create(content, flags={"allow_objects": True}))

    # OmegaConf refuses a whole config for one malformed interpolation, such as a shell command
    # with "${". (A config too deep for it fails again below.)
    with contextlib.suppress(Exception):
        return create(tree)

    def without_malformed(node: Any) -> Any:
        if isinstance(node, dict):
            items = cast(dict[str, Any], node).items()
            return {key: without_malformed(value) for key, value in items}
        if isinstance(node, list):
            return [without_malformed(value) for value in cast(list[Any], node)]
        if isinstance(node, str) and _INTERPOLATION in node:
            try:
                create({"value": node})
            except Exception:
                return _Missing(node)
        return node

    return create(without_malformed(tree))


def _literal(text: str) -> str | _Literal:
    return _Literal(text) if _INTERPOLATION in text or text == _MISSING else text


def _new_key(key: object, tree: dict[str, Any], name: str | None) -> str:
    text = str.__str__(key) if type(key) is str else str(key)
    if " at 0x" in text and not isinstance(key, str):
        raise ConfigError(
            f"a key of the mapping at {_shown(name)} is {_type_name(key)}, which has no stable "
            "text; use strings as keys"
        )
    if text in tree:
        raise ConfigError(f"two keys of the mapping at {_shown(name)} are both {text!r} as text; rename one")
    return text


def _join(parent: str | None, key: str) -> str:
    escaped = _storable(key.translate(ESCAPED_IN_NAMES))
    return escaped if parent is None else f"{parent}.{escaped}"


def _item(parent: str | None, index: int) -> str:
    return f"{parent or ''}[{index}]"


def _storable(text: str) -> str:
    """Escape lone surrogates, which UTF-8 (and so SQLite) cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


# Messages


def _shown(name: str | None) -> str:
    return "the top level" if name is None else repr(name)


def _type_name(value: object) -> str:
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"


def _way_out(value: object) -> str:
    cls = cast(type[Any], value if isinstance(value, type) else type(value))
    if any((c.__module__, c.__name__) == ("argparse", "Namespace") for c in cls.__mro__):
        return "; pass vars(args)"
    if hasattr(cls, "__dataclass_fields__") or hasattr(cls, "__attrs_attrs__"):
        return "; pass OmegaConf.structured(config), or dataclasses.asdict(config)"
    if hasattr(cls, "model_dump"):  # pydantic
        return "; pass config.model_dump()"
    if issubclass(cls, (str, pathlib.PurePath)):
        return "; load the file first, for example with OmegaConf.load(path)"
    return '; give it a name, as in {"items": config}'


def _too_deep(name: str | None) -> str:
    where = "" if name is None else f" at {name[:80]!r}"
    return f"the config is nested more than {_MAX_DEPTH} levels deep{where}, or the stack is nearly used up; flatten it"


def _cyclic(name: str | None) -> str:
    return f"the config is cyclic: {_shown(name)} is a container that it is itself in"


def _unsupported(value: object, name: str | None) -> str:
    hint = _way_out(value)
    # Here the value has a name already.
    hint = hint if hint.startswith("; pass") else ""
    return f"{_shown(name)} is of type {_type_name(value)}, which a config cannot hold{hint}; {_ACCEPTED}"


# From the tree to what is stored


def _remember_secrets(node: Any, name: str | None, redactor: Redactor) -> None:
    if isinstance(node, dict):
        for key, value in cast(dict[str, Any], node).items():
            _remember_secrets(value, _join(name, key), redactor)
    elif isinstance(node, list):
        for i, value in enumerate(cast(list[Any], node)):
            _remember_secrets(value, _item(name, i), redactor)
    elif isinstance(node, (str, _Literal)) and redactor.is_secret_name(name or ""):
        redactor.value(name or "", node if isinstance(node, str) else node.text)


def _redact(node: Any, name: str | None, redactor: Redactor) -> Any:
    if isinstance(node, dict):
        items = cast(dict[str, Any], node).items()
        return {key: _redact(value, _join(name, key), redactor) for key, value in items}
    if isinstance(node, list):
        items = enumerate(cast(list[Any], node))
        return [_redact(value, _item(name, i), redactor) for i, value in items]
    if isinstance(node, str):
        return redactor.value(name or "", node)
    if isinstance(node, _Literal):
        return redactor.value(name or "", node.text)
    if isinstance(node, _Missing) and node.expression != _MISSING:
        # An expression such as "key-${version}" may hold most of a secret.
        return _Missing(redactor.value(name or "", node.expression))
    return node


def _params(tree: dict[str, Any]) -> tuple[Param, ...]:
    params: list[Param] = []

    def add(node: Any, name: str | None) -> None:
        if isinstance(node, dict) and (node or name is None):
            for key, value in cast(dict[str, Any], node).items():
                add(value, _join(name, key))
        elif isinstance(node, list) and node:
            for i, value in enumerate(cast(list[Any], node)):
                add(value, _item(name, i))
        else:
            params.append(Param(name or "", *_leaf(node)))

    add(tree, None)
    return tuple(params)


def _leaf(value: Any) -> tuple[str, float | int | str | None, str]:
    """Return the type, SQL value and text of a leaf."""
    match value:
        case None:
            return "null", None, "null"
        case bool():
            return "bool", int(value), "true" if value else "false"
        case int():
            text = int_text(value)
            return "int", value if -(2**63) <= value < 2**63 else text, text
        case float():
            # SQLite stores a NaN as NULL anyway.
            return "float", None if math.isnan(value) else value, repr(value)
        case bytes():
            text = base64.b64encode(value).decode("ascii")
            return "bytes", text, text
        case _Missing():
            return "missing", None, _storable(value.expression)
        case dict():
            return "dict", None, "{}"
        case list():
            return "list", None, "[]"
        case _:
            text = _storable(value)
            return "str", text, text


def int_text(value: int) -> str:
    """Write an integer as its param's text: beyond 4,200 digits hexadecimal, which Python converts fast."""
    return str(value) if value.bit_length() <= _MAX_INT_BITS else hex(value)


def _json_value(node: Any) -> Any:
    """Make a value that `json` writes without loss."""
    match node:
        case dict():
            members = cast(dict[str, Any], node)
            encoded = {key: _json_value(value) for key, value in members.items()}
            # A mapping of the user that looks like a tag must not be read back as one.
            looks_tagged = len(encoded) == 1 and not _TAGS.isdisjoint(encoded)
            return {"$dict": encoded} if looks_tagged else encoded
        case list():
            return [_json_value(value) for value in cast(list[Any], node)]
        case float() if not math.isfinite(node):
            return {"$float": repr(node)}
        case bytes():
            return {"$bytes": base64.b64encode(node).decode("ascii")}
        case _Missing():
            return None
        case int() if node.bit_length() > _MAX_INT_BITS:
            return {"$int": hex(node)}
        case _:
            return node
