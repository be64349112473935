"""Conditions as SQL.

Each condition becomes an expression about one experiment ``e`` (or artifact ``a``): a look-up by a primary key, which
costs about a microsecond. Going through the whole catalog that way would make a question as slow as the catalog is
large, so a condition that an index answers also has a *source*, a SELECT of the keys that can meet it. `selection`
counts a few hundred rows of each and begins with the one that gives fewest; SQLite's planner cannot know which
that is, for without ANALYZE it takes all indexes to be equally good. A source only narrows: the conditions decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from sqlite3 import Connection
from typing import Any, Literal, NamedTuple

from crackseg_tracker.config import int_text
from crackseg_tracker.filters import (
    ColumnField,
    Combined,
    Comparison,
    Condition,
    Contains,
    Field,
    MetricField,
    Negated,
    Order,
    ParamField,
    Tagged,
    as_float,
)

#: A metric's number and mode, by name.
Metrics = Mapping[str, tuple[int, str]]

Of = Literal["experiment", "artifact"]

# Below so many keys a source is begun with, whatever their order; beyond, only one that gives its keys in order.
# Counting takes 0.1 us a key where the index has all that is asked, and 2 us where it has not: the best of a series.
FEW = 500
FEW_SERIES = 200

COLUMNS = {
    **{
        name: f"e.{name}"
        for name in (
            *("experiment_id", "experiment_name", "project", "status", "description", "current_epoch", "total_epochs"),
            *("training_time_seconds", "error_message", "created_at", "started_at", "completed_at", "updated_at"),
            *("experiment_dir", "uid"),
        )
    },
    "group": 'e."group"',
    "hostname": "(SELECT v.hostname FROM environment AS v WHERE v.id = e.environment)",
    "git_commit": "(SELECT v.git_commit FROM environment AS v WHERE v.id = e.environment)",
    "config_sha256": "(SELECT c.sha256 FROM config AS c WHERE c.id = e.config)",
    "artifact_count": "(SELECT count(*) FROM artifact AS n WHERE n.experiment = e.id)",
}
#: Columns that may be unknown: NULL, or empty text.
_MAY_LACK = frozenset(["group", "description", "error_message", "hostname", "git_commit", "started_at", "completed_at"])
_INDEXED = {
    ("experiment", "experiment_id"): "SELECT id AS key FROM experiment WHERE deleted_at IS NULL AND experiment_id",
    ("experiment", "project"): "SELECT id AS key FROM experiment WHERE project",
    ("experiment", "status"): "SELECT id AS key FROM experiment WHERE status",
    ("experiment", "created_at"): "SELECT id AS key FROM experiment WHERE created_at",
    ("artifact", "artifact_type"): "SELECT id AS key FROM artifact WHERE artifact_type",
    ("artifact", "sha256"): "SELECT id AS key FROM artifact WHERE sha256",
}

RECENT = "FROM metric_recent AS r WHERE r.experiment = s.experiment AND r.metric = s.metric"


def _extreme(end: str, stored: str) -> str:
    """Write the extreme of a series: what is stored and, of a running experiment, what is not summed up yet."""
    none = "-9e999" if end == "max" else "9e999"
    recent = f"(SELECT {end}(r.value) {RECENT} AND abs(r.value) < 9e999)"
    return (
        f"CASE WHEN s.sealed = 1 THEN s.{stored} "
        f"ELSE nullif({end}(ifnull(s.{stored}, {none}), ifnull({recent}, {none})), {none}) END"
    )


#: What sums up a series, by name: expressions about the ``metric_summary`` s.
SUMMARIES = {
    "best max": _extreme("max", "best_max"),
    "best min": _extreme("min", "best_min"),
    "max": _extreme("max", "max_value"),
    "min": _extreme("min", "min_value"),
    "first": "s.first_value",
    # NULL is NaN here: the last value may be one, so coalesce() would find an older value.
    "last": f"CASE WHEN s.sealed = 0 AND EXISTS (SELECT 1 {RECENT}) "
    f"THEN (SELECT r.value {RECENT} ORDER BY r.step DESC LIMIT 1) ELSE s.last_value END",
}


class Sql(NamedTuple):
    """A piece of SQL with its parameters."""

    text: str
    parameters: tuple[Any, ...] = ()


class Source(NamedTuple):
    """A SELECT of the keys that can meet a condition, as ``key``; ordered when it gives them in ascending order."""

    of: Of
    sql: Sql
    ordered: bool
    few: int = FEW


class Selection(NamedTuple):
    """The experiments (or artifacts) that meet conditions."""

    #: Each condition after an AND.
    where: Sql
    #: Where to begin; None goes through all.
    source: Sql | None
    #: Whether the source gives few keys.
    few: bool

    def tables(self, table: str, alias: str) -> Sql:
        """Write the FROM clause: the source first, CROSS JOIN so that SQLite keeps to that."""
        if self.source is None:
            return Sql(f"{table} AS {alias}")
        text, parameters = self.source
        return Sql(f"({text}) AS d CROSS JOIN {table} AS {alias} ON {alias}.id = d.key", parameters)

    def key(self, alias: str) -> str:
        """Name the key in whose order the source gives its rows, so that nothing is sorted."""
        return f"{alias}.id" if self.source is None else "d.key"

    def narrowed(self, key: str) -> Sql:
        """Write the conditions for a statement that begins elsewhere, with few keys unless there are many."""
        if self.source is None or not self.few:
            return self.where
        text, parameters = self.source
        return Sql(f" AND {key} IN ({text}){self.where.text}", (*parameters, *self.where.parameters))


NOTHING = Sql("")
EVERYTHING = Selection(NOTHING, None, False)


def selection(
    connection: Connection, conditions: Sequence[Condition], metrics: Metrics, of: Of = "experiment"
) -> Selection:
    """Turn conditions into SQL, and find out with which to begin."""
    if not conditions:
        return EVERYTHING
    pieces = [_expression(condition, metrics) for condition in conditions]
    where = Sql(
        "".join(f" AND {piece.text}" for piece in pieces), tuple(p for piece in pieces for p in piece.parameters)
    )
    sources = [source for condition in conditions for source in _sources(condition, metrics)]
    return Selection(where, *_narrowest(connection, sources, of))


def _narrowest(connection: Connection, sources: Iterable[Source], of: Of) -> tuple[Sql | None, bool]:
    """Choose the source of the fewest keys; none of them is counted further than the fewest so far."""
    narrowest, fewest = None, FEW + 1
    for about, (text, parameters), ordered, few in sorted(sources, key=lambda source: -source.few):
        if about != of:
            text, ordered = f"SELECT id AS key FROM artifact WHERE experiment IN ({text})", False
        most = min(few, fewest)
        # Looking for one key beyond takes half of what counting takes.
        if connection.execute(f"{text} LIMIT 1 OFFSET {most - 1}", parameters).fetchone() is None:
            (fewest,) = connection.execute(f"SELECT count(*) FROM ({text})", parameters).fetchone()
            narrowest = Sql(text, parameters)
        elif ordered and narrowest is None:
            narrowest = Sql(text, parameters)
    return narrowest, fewest < FEW


def ordering(order: Sequence[Order], metrics: Metrics) -> Sql:
    """Write what to order by, each term before a comma: what is missing comes last."""
    terms: list[str] = []
    parameters: list[Any] = []
    for field, descending in ((one.field, one.descending) for one in order):
        sql = _value(field, metrics)
        direction = "DESC" if descending else "ASC"
        if isinstance(field, ColumnField):
            may_lack = field.name in _MAY_LACK
            terms.append(f"nullif({sql.text}, '') {direction} NULLS LAST" if may_lack else f"{sql.text} {direction}")
        else:
            terms.append(f"{sql.text} {direction} NULLS LAST")
        parameters += sql.parameters
    return Sql("".join(f"{term}, " for term in terms), tuple(parameters))


def _expression(condition: Condition, metrics: Metrics) -> Sql:
    """Write an expression that is 1 or 0, never NULL."""
    match condition:
        case Combined(operator, parts):
            pieces = [_expression(part, metrics) for part in parts]
            text = f" {operator} ".join(piece.text for piece in pieces) or ("1" if operator == "AND" else "0")
            return Sql(f"({text})", tuple(p for piece in pieces for p in piece.parameters))
        case Negated(inner):
            text, parameters = _expression(inner, metrics)
            return Sql(f"NOT {text}", parameters)
        case Tagged(tags, of):
            key = "e.id" if of == "experiment" else "a.id"
            return Sql(f"EXISTS (SELECT 1 FROM {of}_tag AS t WHERE t.{of} = {key} AND t.tag IN ({_marks(tags)}))", tags)
        case Contains(text):
            columns = ("e.experiment_name", "e.description", "e.error_message")
            inside = " OR ".join(f"instr(lower({column}), lower(?))" for column in columns)
            tags = (
                "EXISTS (SELECT 1 FROM experiment_tag AS t WHERE t.experiment = e.id AND instr(lower(t.tag), lower(?)))"
            )
            return Sql(f"({inside} OR {tags})", (text,) * 4)
        case Comparison(ParamField(name), operator, operands):
            if operator == "missing":
                return Sql(f"NOT {_EXISTS_PARAM} AND p.type <> 'missing')", (name,))
            predicate = _param_predicate(operator, operands)
            return Sql(f"{_EXISTS_PARAM} AND {predicate.text})", (name, *predicate.parameters))
        case Comparison(field, operator, operands):
            value = _value(field, metrics)
            predicate = _predicate(value.text, operator, operands)
            return Sql(f"({predicate.text}) IS TRUE", (*value.parameters, *predicate.parameters))
        case _:
            raise NotImplementedError(condition)


_EXISTS_PARAM = "EXISTS (SELECT 1 FROM param AS p WHERE p.experiment = e.id AND p.name = ?"


def _predicate(value: str, operator: str, operands: tuple[Any, ...]) -> Sql:
    match operator:
        case "between":
            return Sql(f"{value} BETWEEN ? AND ?", operands)
        case "one of":
            return Sql(f"{value} IN ({_marks(operands)})", operands)
        case "matches":
            # GLOB, not LIKE: case counts. Its other wild cards are taken literally.
            glob = operands[0].replace("[", "[[]").replace("?", "[?]")
            return Sql(f"{value} GLOB ?", (glob,))
        case "missing":
            return Sql(f"{value} IS NULL")
        case _:
            return Sql(f"{value} {operator} ?", operands)


def _param_predicate(operator: str, operands: tuple[Any, ...]) -> Sql:
    """Compare ``p.value`` as Python would: in SQLite every number is less than every text, and NULL equals nothing."""
    if operator == "<>":
        text, parameters = _param_equals(operands)
        return Sql(f"p.type <> 'missing' AND {text} IS NOT TRUE", parameters)
    if operator in ("=", "one of"):
        return _param_equals(operands)
    text, parameters = _param_range(operator, operands)
    return Sql(f"{text} AND {_NOT_BEYOND}" if isinstance(operands[0], str) else text, parameters)


# Integers beyond 64 bits are stored as text.
_NOT_BEYOND = "p.type <> 'int'"


def _param_equals(operands: tuple[Any, ...]) -> Sql:
    texts = [o for o in operands if isinstance(o, str)]
    beyond = [o for o in operands if not _is_storable(o)]
    numbers = [o for o in operands if o is not None and not isinstance(o, str) and _is_storable(o)]
    numbers += [as_float(o) for o in beyond if as_float(o) == o]
    options = [
        (f"p.value IN ({_marks(numbers)})", numbers),
        (f"p.value IN ({_marks(texts)}) AND {_NOT_BEYOND}", texts),
        (f"p.value IN ({_marks(beyond)}) AND NOT {_NOT_BEYOND}", [int_text(o) for o in beyond]),
    ]
    pieces = [Sql(f"({text})", tuple(parameters)) for text, parameters in options if parameters]
    if None in operands:
        pieces.append(Sql("(p.value IS NULL AND p.type = 'null')"))
    text = " OR ".join(piece.text for piece in pieces) or "0"
    return Sql(f"({text})", tuple(p for piece in pieces for p in piece.parameters))


def _param_range(operator: str, operands: tuple[Any, ...]) -> Sql:
    """Write what the index of the values can tell of a comparison, without a look at the types."""
    if operator in ("=", "one of"):
        found = _param_equals(operands)
        text = f"p.value IN ({_marks(found.parameters)})"
        return Sql(f"(p.value IS NULL OR {text})" if None in operands else text, found.parameters)
    kind = "p.value >= ''" if isinstance(operands[0], str) else "p.value < ''"
    text, parameters = _predicate("p.value", operator, tuple(o if _is_storable(o) else as_float(o) for o in operands))
    return Sql(f"{text} AND {kind}", parameters)


def _is_storable(operand: Any) -> bool:
    return not isinstance(operand, int) or -(2**63) <= operand < 2**63


def _value(field: Field, metrics: Metrics) -> Sql:
    """Write an expression for the value of a field in one experiment."""
    match field:
        case ParamField(name):
            return Sql("(SELECT p.value FROM param AS p WHERE p.experiment = e.id AND p.name = ?)", (name,))
        case MetricField():
            return summary_value(field, metrics)
        case ColumnField(name, "artifact"):
            return Sql(f"a.{name}")
        case ColumnField(name):
            return Sql(COLUMNS[name])
        case _:
            raise NotImplementedError(field)


def summary_value(field: MetricField, metrics: Metrics) -> Sql:
    """Write an expression for what sums up a metric in one experiment ``e``; NULL where it was not recorded."""
    number, mode = metrics[field.name]
    value = SUMMARIES[field.summary if field.summary != "best" else f"best {mode}"]
    return Sql(f"(SELECT {value} FROM metric_summary AS s WHERE s.experiment = e.id AND s.metric = ?)", (number,))


def _sources(condition: Condition, metrics: Metrics) -> Iterator[Source]:
    """Give the sources of a condition: of each that must be met, if an index has it."""
    match condition:
        case Combined("AND", parts):
            for part in parts:
                yield from _sources(part, metrics)
        case Tagged((tag,), of):
            yield Source(of, Sql(f"SELECT {of} AS key FROM {of}_tag WHERE tag = ?", (tag,)), True)
        case Tagged(tags, of):
            text = f"SELECT DISTINCT {of} AS key FROM {of}_tag WHERE tag IN ({_marks(tags)})"
            yield Source(of, Sql(text, tags), False)
        case Comparison(ParamField(name), operator, operands) if operator not in ("<>", "matches", "missing"):
            text, parameters = _param_range(operator, operands)
            sql = Sql(f"SELECT p.experiment AS key FROM param AS p WHERE p.name = ? AND {text}", (name, *parameters))
            yield Source("experiment", sql, operator == "=")
        case Comparison(MetricField(name, summary), operator, operands) if operator != "missing":
            number, mode = metrics[name]
            best = _predicate(f"s.best_{mode}", operator, operands) if summary == "best" else Sql("1")
            series = "SELECT s.experiment AS key FROM metric_summary AS s WHERE s.metric = ? AND s.sealed"
            text = f"{series} = 1 AND {best.text} UNION ALL {series} = 0"
            yield Source("experiment", Sql(text, (number, *best.parameters, number)), False, FEW_SERIES)
        case Comparison(ColumnField(name, of), operator, operands) if (of, name) in _INDEXED and operands:
            ordered = operator == "one of" and len(operands) == 1
            yield Source(of, _predicate(_INDEXED[of, name], operator, operands), ordered)
        case _:
            return


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
