"""What a question asks of an experiment: `param` and `metric`, the conditions made of them, and the plain filters.

A condition holds or it does not: what an experiment lacks meets no comparison, so ``param("depth") != 3`` wants another
depth, and ``~(param("depth") == 3)`` takes those without one too. Values compare as in Python: 3 equals 3.0 and True
equals 1, and text never equals a number nor is greater or less than one.

Conditions are data: `store.filtering` turns them into SQL, in which every name and value is a bound parameter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, NoReturn, TypedDict

from crackseg_tracker import values
from crackseg_tracker.errors import InvalidTypeError, InvalidValueError

Words = str | Sequence[str]
Moment = datetime | date | str
Value = str | float | int | bool | None
Operator = Literal["=", "<>", "<", "<=", ">", ">=", "between", "one of", "matches", "missing"]
Summary = Literal["best", "last", "first", "min", "max"]


class Condition:
    """What an experiment must meet. Combine with ``&`` (and), ``|`` (or) and ``~`` (not)."""

    __slots__ = ()

    def __and__(self, other: Condition) -> Condition:
        """Want both."""
        return _combined("AND", self, other)

    def __or__(self, other: Condition) -> Condition:
        """Want either."""
        return _combined("OR", self, other)

    def __invert__(self) -> Condition:
        """Want the opposite."""
        return Negated(self)

    def __bool__(self) -> NoReturn:
        """Refuse what Python would make of ``and``, ``or``, ``not`` and ``1 < param("depth") < 5``."""
        raise InvalidTypeError(
            "a condition is neither true nor false before it is asked; combine with & | ~ instead of and, or, not, and "
            "write a range as param(...).between(low, high)"
        )


class Field:
    """A value that an experiment has or lacks: compare it for a condition, or order by it."""

    __slots__ = ()
    __hash__ = object.__hash__

    def _operand(self, value: object) -> Any:
        """Check and convert what the field is compared with."""
        raise NotImplementedError

    def __eq__(self, value: object) -> Condition:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Want this value."""
        return Comparison(self, "=", (self._operand(value),))

    def __ne__(self, value: object) -> Condition:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Want a value, and another than this."""
        return Comparison(self, "<>", (self._operand(value),))

    def __lt__(self, value: object) -> Condition:
        """Want less."""
        return Comparison(self, "<", (self._bound(value),))

    def __le__(self, value: object) -> Condition:
        """Want at most this."""
        return Comparison(self, "<=", (self._bound(value),))

    def __gt__(self, value: object) -> Condition:
        """Want more."""
        return Comparison(self, ">", (self._bound(value),))

    def __ge__(self, value: object) -> Condition:
        """Want at least this."""
        return Comparison(self, ">=", (self._bound(value),))

    def between(self, low: object, high: object) -> Condition:
        """Want a value from ``low`` to ``high``, both included."""
        bounds = self._bound(low), self._bound(high)
        if len({isinstance(bound, str) for bound in bounds}) > 1:
            raise InvalidTypeError(f"{self}: {low!r} and {high!r} do not compare; give two numbers or two texts")
        return Comparison(self, "between", bounds)

    def one_of(self, options: Iterable[object]) -> Condition:
        """Want one of these values."""
        if isinstance(options, (str, bytes)) or not isinstance(options, Iterable):  # pyright: ignore
            raise InvalidTypeError(f"{self}: {options!r} is a {type(options).__name__}; give a list of values")
        return Comparison(self, "one of", tuple(self._operand(option) for option in options))

    def is_missing(self) -> Condition:
        """Want the experiments that have no such value."""
        return Comparison(self, "missing", ())

    @property
    def ascending(self) -> Order:
        """Order by it, lowest first; experiments that lack it come last."""
        return Order(self, descending=False)

    @property
    def descending(self) -> Order:
        """Order by it, highest first; experiments that lack it come last."""
        return Order(self, descending=True)

    def _bound(self, value: object) -> Any:
        if value is None:
            raise InvalidTypeError(f"{self}: None is neither more nor less than anything; give a number or a text")
        return self._operand(value)


@dataclass(frozen=True, slots=True, eq=False)
class ParamField(Field):
    """A param, by its dotted name. Made by `param`."""

    name: str

    def __str__(self) -> str:
        """Write it as the user does."""
        return f"param({self.name!r})"

    def matches(self, pattern: str) -> Condition:
        """Want a text in which ``*`` of the pattern stands for any characters."""
        return Comparison(self, "matches", (values.checked_text(pattern, f"{self} pattern", empty=True),))

    def _operand(self, value: object) -> Value:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return values.checked_text(value, str(self), empty=True)
        return _checked_number(self, value)


@dataclass(frozen=True, slots=True, eq=False)
class MetricField(Field):
    """A value that sums up a metric: its best unless said otherwise. Made by `metric`."""

    name: str
    summary: Summary = "best"

    def __str__(self) -> str:
        """Write it as the user does."""
        return f"metric({self.name!r}).{self.summary}"

    @property
    def best(self) -> MetricField:
        """The better, by the metric's mode, of the last report and the logged extreme."""
        return MetricField(self.name, "best")

    @property
    def last(self) -> MetricField:
        """The value logged at the last step."""
        return MetricField(self.name, "last")

    @property
    def first(self) -> MetricField:
        """The value logged at the first step."""
        return MetricField(self.name, "first")

    @property
    def min(self) -> MetricField:
        """The lowest finite value that was logged."""
        return MetricField(self.name, "min")

    @property
    def max(self) -> MetricField:
        """The highest finite value that was logged."""
        return MetricField(self.name, "max")

    def _operand(self, value: object) -> float | int:
        if value is None or isinstance(value, (bool, str)):
            raise InvalidTypeError(f"{self}: {value!r} is a {type(value).__name__}; give a number")
        number = _checked_number(self, value)
        return number if -(2**63) <= number < 2**63 else as_float(number)


@dataclass(frozen=True, slots=True, eq=False)
class ColumnField(Field):
    """A column of the experiments or artifacts: what the plain filters speak of."""

    name: str
    of: Literal["experiment", "artifact"] = "experiment"

    def __str__(self) -> str:
        """Write its name."""
        return self.name

    def _operand(self, value: object) -> Any:
        return value


@dataclass(frozen=True, slots=True, eq=False)
class Comparison(Condition):
    """A field compared with values."""

    field: Field
    operator: Operator
    operands: tuple[Any, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Tagged(Condition):
    """Has at least one of the tags; ``of`` says whether the artifact or its experiment is meant."""

    tags: tuple[str, ...]
    of: Literal["experiment", "artifact"] = "experiment"


@dataclass(frozen=True, slots=True, eq=False)
class Contains(Condition):
    """Has the text in its name, description, tags or error; the case of ASCII letters does not count."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Combined(Condition):
    """All or any of several conditions."""

    operator: Literal["AND", "OR"]
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Negated(Condition):
    """The opposite of a condition."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class Order:
    """A field to order by."""

    field: Field
    descending: bool


OrderBy = str | Field | Order | Sequence[str | Field | Order]


def param(name: str) -> ParamField:
    """Name a param, to filter or to order by it.

    Example:
        >>> deep = param("model.depth") > 3
        >>> adam = param("optimizer.name").one_of(["adam", "adamw"])
        >>> either = deep | ~adam
        >>> order = param("training.learning_rate").descending
    """
    return ParamField(values.checked_text(name, "param name", empty=True))


def metric(name: str) -> MetricField:
    """Name a metric, to filter or to order by its best, last, first, min or max value.

    Example:
        >>> good = metric("val/iou") > 0.7  # its best value
        >>> converged = metric("train/loss").last.between(0.0, 0.1)
        >>> order = metric("val/iou").best.descending
    """
    return MetricField(values.checked_name(name))


class SharedFilters(TypedDict, total=False):
    """The filters of experiments that a question for their artifacts takes too."""

    #: One or several.
    project: Words | None
    #: One or several of created, running, completed, failed, aborted.
    status: Words | None
    #: Experiment names; ``*`` stands for any characters.
    name: Words | None
    #: One or several.
    group: Words | None
    #: ``{name: value}``: the experiments that have all of them; a list of values means any of these.
    params: Mapping[str, Any] | None
    #: A condition made of `param` and `metric`, or several.
    where: Condition | Sequence[Condition] | None
    #: A text in the name, description, tags or error; the case of ASCII letters does not count.
    text: str | None
    #: A datetime or ISO 8601 text; without an offset it is local time. A day is its start for "since", its end for
    #: "until". Both are inclusive.
    created_since: Moment | None
    created_until: Moment | None
    completed_since: Moment | None
    completed_until: Moment | None
    #: The commit, or the beginning of it.
    git_commit: Words | None
    #: Hosts; ``*`` stands for any characters.
    hostname: Words | None


class ExperimentFilters(SharedFilters, total=False):
    """What one may ask of experiments; all that are given must be met, and an empty list is met by none."""

    #: Ids; ``*`` stands for any characters.
    experiment_id: Words | None
    #: The experiments that have all of these tags, at least one of them, none of them.
    tags: Words | None
    any_tags: Words | None
    no_tags: Words | None


def as_float(number: float | int) -> float:
    """Give the nearest double, infinity beyond the largest."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _combined(operator: Literal["AND", "OR"], left: Condition, right: object) -> Condition:
    """Combine two conditions; a chain of one operator stays flat, however long it is."""
    if not isinstance(right, Condition):
        raise InvalidTypeError(f"{right!r} is a {type(right).__name__}; give a condition such as param('depth') > 3")
    if isinstance(left, Combined) and left.operator == operator:
        return Combined(operator, (*left.parts, right))
    return Combined(operator, (left, right))


def _checked_number(field: Field, value: object) -> float | int:
    """Give an int or float, also of a numpy or torch scalar. NaN is refused, for it equals nothing."""
    if not isinstance(value, (int, float)):
        item = getattr(value, "item", None)
        if not callable(item) or getattr(value, "shape", None) not in ((), None):
            raise InvalidTypeError(f"{field}: {value!r} is a {type(value).__name__}; give a number or a text")
        value = item()
        if not isinstance(value, (int, float)):
            raise InvalidTypeError(f"{field}: {value!r} is a {type(value).__name__}; give a number or a text")
    if isinstance(value, float) and math.isnan(value):
        raise InvalidValueError(f"{field}: nan equals nothing and compares with nothing; ask for is_missing()")
    return value
