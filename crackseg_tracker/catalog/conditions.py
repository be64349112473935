"""From the plain filters of a question to conditions: every filter is checked here, before anything is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, Literal, cast

from crackseg_tracker import values
from crackseg_tracker.catalog.arguments import suggestion, words
from crackseg_tracker.errors import InvalidTypeError, InvalidValueError
from crackseg_tracker.filters import (
    ColumnField,
    Combined,
    Comparison,
    Condition,
    Contains,
    ExperimentFilters,
    Field,
    Negated,
    Order,
    ParamField,
    Tagged,
    Words,
)
from crackseg_tracker.schema import STATUSES

# SQLite takes 32,766 parameters, expressions 1,000 deep, parentheses about 100 deep, and patterns of 50,000 bytes.
MOST_CONDITIONS = 500
DEEPEST = 20
MOST_VALUES = 20_000
LONGEST_PATTERN = 10_000

Of = Literal["experiment", "artifact"]
_FILTERS = frozenset(ExperimentFilters.__annotations__)
_ARGUMENTS = _FILTERS | {"order_by", "limit", "offset"}


def experiment_conditions(filters: Mapping[str, Any], known: Iterable[str] = _ARGUMENTS) -> list[Condition]:
    """Check the filters of experiments and turn them into conditions, all of which must be met.

    Args:
        filters: As in `ExperimentFilters`.
        known: What to suggest for a filter that does not exist.
    """
    if not filters:
        return []
    for unknown in filters.keys() - _FILTERS:
        raise InvalidTypeError(f"there is no filter {unknown!r}; {suggestion(unknown, sorted(known))}")
    given = cast(ExperimentFilters, filters)
    conditions = [
        *one_of("project", given.get("project")),
        *one_of("status", given.get("status"), STATUSES),
        *one_of("group", given.get("group")),
        *like("experiment_name", given.get("name"), "name"),
        *like("experiment_id", given.get("experiment_id")),
        *like("hostname", given.get("hostname")),
        *_begins_with("git_commit", given.get("git_commit")),
        *tagged(given.get("tags"), given.get("any_tags"), given.get("no_tags")),
        *_params(given.get("params")),
        *([] if given.get("text") is None else [Contains(values.checked_text(given.get("text"), "text", empty=True))]),
        *since("created_at", given.get("created_since"), "created_since"),
        *until("created_at", given.get("created_until"), "created_until"),
        *since("completed_at", given.get("completed_since"), "completed_since"),
        *until("completed_at", given.get("completed_until"), "completed_until"),
        *_where(given.get("where")),
    ]
    check_size(conditions)
    return conditions


def one_of(
    column: str, given: Words | None, known: Sequence[str] | None = None, of: Of = "experiment"
) -> list[Condition]:
    """Want one of the words; None is no condition, an empty list is one that nothing meets."""
    if given is None:
        return []
    chosen = words(given, column)
    for word in chosen:
        if known is not None and word not in known:
            raise InvalidValueError(f"{column} {word!r} is unknown; {suggestion(word, known)}")
    return [Comparison(ColumnField(column, of), "one of", tuple(chosen))]


def like(column: str, given: Words | None, argument: str | None = None, of: Of = "experiment") -> list[Condition]:
    """Want one of the words, in which ``*`` stands for any characters."""
    if given is None:
        return []
    patterns = words(given, argument or column)
    exact = [pattern for pattern in patterns if "*" not in pattern]
    field = ColumnField(column, of)
    options: list[Condition] = [Comparison(field, "matches", (pattern,)) for pattern in patterns if "*" in pattern]
    if exact or not patterns:
        options.append(Comparison(field, "one of", tuple(exact)))
    return [any_of(options)]


def tagged(tags: Words | None, any_tags: Words | None, no_tags: Words | None, of: Of = "experiment") -> list[Condition]:
    """Want all of the tags, one of them, none of them."""
    conditions: list[Condition] = [Tagged((tag,), of) for tag in words(tags, "tags")]
    if any_tags is not None:
        conditions.append(Tagged(tuple(words(any_tags, "any_tags")), of))
    if no_tags := words(no_tags, "no_tags"):
        conditions.append(Negated(Tagged(tuple(no_tags), of)))
    return conditions


def any_of(options: Sequence[Condition]) -> Condition:
    """Want any of the conditions."""
    return options[0] if len(options) == 1 else Combined("OR", tuple(options))


def since(column: str, moment: object, argument: str) -> list[Condition]:
    """Want a time at or after the moment."""
    if moment is None:
        return []
    start, _ = _moment(moment, argument)
    return [Comparison(ColumnField(column), ">=", (start,))]


def until(column: str, moment: object, argument: str) -> list[Condition]:
    """Want a time at or before the moment, or on that day."""
    if moment is None:
        return []
    _, end = _moment(moment, argument)
    return [Comparison(ColumnField(column), "<=", (end,))]


def order_terms(given: object) -> list[str | Order]:
    """Give what to order by: checked where it is an object; a name is looked up in the catalog."""
    terms: list[str | Order] = []
    several = cast("Iterable[object]", given) if isinstance(given, (list, tuple)) else [given]
    for term in several:
        if isinstance(term, Field):
            terms.append(term.ascending)
        elif isinstance(term, Order):
            terms.append(term)
        elif isinstance(term, str):
            terms.append(values.checked_text(term, "order_by"))
        elif term is not None:
            raise InvalidTypeError(
                f"order_by {term!r} is a {type(term).__name__}; give a name, or metric('val/iou').descending"
            )
    return terms


def fields_of(conditions: Iterable[Condition], order: Iterable[Order] = ()) -> list[Field]:
    """Give the fields that conditions and an order speak of."""
    compared = [leaf.field for leaf in leaves(conditions) if isinstance(leaf, Comparison)]
    return compared + [one.field for one in order]


def leaves(conditions: Iterable[Condition]) -> list[Condition]:
    """Give the conditions that are not made of others."""
    found: list[Condition] = []
    left = list(conditions)
    while left:
        condition = left.pop()
        if isinstance(condition, Combined):
            left += condition.parts
        elif isinstance(condition, Negated):
            left.append(condition.condition)
        else:
            found.append(condition)
    return found


def check_size(conditions: Sequence[Condition]) -> None:
    """Refuse what SQLite cannot take, before it says so in words of its own."""
    parts = leaves(conditions)
    count = len(parts)
    if count > MOST_CONDITIONS:
        raise InvalidValueError(f"a question takes at most {MOST_CONDITIONS} conditions; this one has {count}")
    if _depth(conditions) > DEEPEST:
        raise InvalidValueError(f"conditions nest at most {DEEPEST} deep; write them flatter")
    size = 0
    for part in parts:
        if isinstance(part, Tagged):
            size += len(part.tags)
        elif isinstance(part, Comparison):
            size += len(part.operands)
            if part.operator == "matches":
                _check_pattern(part.operands[0])
    if size > MOST_VALUES:
        raise InvalidValueError(f"a question takes at most {MOST_VALUES} values; this one names {size}")


def _depth(conditions: Iterable[Condition]) -> int:
    depth, level = 0, list(conditions)
    while level:
        depth += 1
        below: list[Condition] = []
        for condition in level:
            if isinstance(condition, Combined):
                below += condition.parts
            elif isinstance(condition, Negated):
                below.append(condition.condition)
        level = below
    return depth


def _check_pattern(pattern: str) -> None:
    if len(pattern) > LONGEST_PATTERN:
        raise InvalidValueError(f"a pattern has at most {LONGEST_PATTERN} characters; this has {len(pattern)}")
    if "\0" in pattern:
        raise InvalidValueError(f"pattern {pattern!r} has a NUL, which patterns cannot; give the whole text instead")


def _begins_with(column: str, given: Words | None) -> list[Condition]:
    beginnings = [] if given is None else words(given, column)
    for beginning in beginnings:
        if not beginning or not set(beginning.lower()) <= set("0123456789abcdef"):
            raise InvalidValueError(
                f"{column} {beginning!r} is no commit; give its hexadecimal digits or the first few"
            )
    return like(column, [f"{beginning.lower()}*" for beginning in beginnings]) if given is not None else []


def _params(given: object) -> list[Condition]:
    if given is None:
        return []
    if not isinstance(given, Mapping):
        raise InvalidTypeError(f"params {given!r} is a {type(given).__name__}; give {{'model.depth': 4}}")
    conditions: list[Condition] = []
    for name, value in cast("Mapping[Any, Any]", given).items():
        field = ParamField(values.checked_text(name, "param name", empty=True))
        several = isinstance(value, (list, tuple, set, frozenset))
        conditions.append(field.one_of(cast("Iterable[Any]", value)) if several else field == value)
    return conditions


def _where(given: object) -> list[Condition]:
    conditions = list(cast("Iterable[object]", given)) if isinstance(given, (list, tuple)) else [given]
    for condition in conditions:
        if condition is not None and not isinstance(condition, Condition):
            raise InvalidTypeError(
                f"where {condition!r} is a {type(condition).__name__}; give a condition such as param('depth') > 3, "
                "or several in a list"
            )
    return [condition for condition in conditions if isinstance(condition, Condition)]


def _moment(value: object, argument: str) -> tuple[str, str]:
    """Give the first and the last microsecond of a moment or a day, as times are stored."""
    if not isinstance(value, (date, str)):
        raise InvalidTypeError(f"{argument} {value!r} is a {type(value).__name__}; give a datetime or ISO 8601 text")
    try:
        moment = _parsed(value)
        if isinstance(moment, datetime):
            return _stored(moment), _stored(moment)
        start = datetime(moment.year, moment.month, moment.day)
        return _stored(start), _stored(datetime.combine(start, time.max))
    except ValueError as error:
        raise InvalidValueError(
            f"{argument} {value!r} is no time ({error}); give a datetime or ISO 8601 text such as 2026-11-24T10:00"
        ) from error


def _stored(moment: datetime) -> str:
    try:
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):  # the first or the last day there is, which means: no bound
        moment = moment.replace(tzinfo=UTC)
    return moment.isoformat(timespec="microseconds")


def _parsed(value: date | str) -> datetime | date:
    if isinstance(value, date):  # every datetime is a date
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        return datetime.fromisoformat(value)
