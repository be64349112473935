"""Evaluation: statistics of a metric over groups of experiments, and tests between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from sqlite3 import Connection
from typing import Any, Literal, NamedTuple, Unpack, cast

from crackseg_tracker import compare, values
from crackseg_tracker.catalog.arguments import suggestion, words
from crackseg_tracker.catalog.conditions import experiment_conditions
from crackseg_tracker.catalog.opened import OpenCatalog
from crackseg_tracker.errors import InvalidTypeError, InvalidValueError, NotFoundError
from crackseg_tracker.filters import ExperimentFilters, Words
from crackseg_tracker.identity import SURROUNDINGS, checked_patterns, pattern_of
from crackseg_tracker.results import Result
from crackseg_tracker.rows import ParamValue
from crackseg_tracker.statistics import (
    LEAST_FOR_TEST,
    RESAMPLES,
    ContrastRow,
    Sample,
    StatisticsRow,
    holm,
    paired,
    sample_of,
    summarize,
    welch,
)
from crackseg_tracker.store import comparing, filtering, reading
from crackseg_tracker.store.comparing import Measured

#: A group of experiments: the params that they have, an id (``*`` stands for any characters), or a list of ids.
Group = Mapping[str, Any] | str | Sequence[str]

_CONFIG_WITHOUT = "config-without:"


class Evaluation(OpenCatalog):
    """What the values of a metric say about many experiments."""

    def statistics(
        self,
        metric: str,
        group_by: Words | None = None,
        *,
        value: Literal["best", "last"] = "best",
        mode: Literal["max", "min"] | None = None,
        confidence: float = 0.95,
        resamples: int = RESAMPLES,
        random_seed: int = 0,
        **filters: Unpack[ExperimentFilters],
    ) -> Result[StatisticsRow]:
        """Sum up a metric over groups of experiments: n, mean, deviation, median, extremes, interval; best mean first.

        The interval of the mean is a BCa bootstrap (Efron 1987); `crackseg_tracker.statistics` says how, and how far it
        can be trusted with few values. Only completed experiments count, unless ``status`` says otherwise. What is left
        out is counted in each row.

        Args:
            metric: Its name, exactly.
            group_by: Names of params; or "config-without:seed", which puts together the experiments whose params are
                the same but for that (patterns as in `crackseg_tracker.identity`, several with commas), and but for
                paths, names and the machine (`crackseg_tracker.identity.SURROUNDINGS`). Default: one group.
            value: Of each experiment its "best" value or its "last".
            mode: Which is better; default: as defined for the metric, else assumed from its name.
            confidence: Of the interval, from 0.5 to 0.999.
            resamples: Of the bootstrap, where it takes random ones.
            random_seed: Of the bootstrap: the same seed, the same interval.
            **filters: See `crackseg_tracker.filters.ExperimentFilters`.

        Raises:
            NotFoundError: Nobody has such a metric or param; suggests the nearest.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> from crackseg_tracker import Catalog, ExperimentTracker
            >>> with TemporaryDirectory() as folder:
            ...     path = f"{folder}/c/catalog.db"
            ...     for seed, iou in enumerate((0.70, 0.72, 0.71)):
            ...         name, config = f"unet-{seed}", {"encoder": "resnet34", "seed": seed}
            ...         with ExperimentTracker(f"{folder}/{name}", name, config=config, catalog=path) as tracker:
            ...             tracker.log_metrics({"val/iou": iou}, step=0)
            ...     with Catalog(path) as catalog:
            ...         found = catalog.statistics("val/iou", "config-without:seed")
            >>> print(found.select("n", "mean", "sd", "low", "high", "missing"))
            n  mean    sd  low  high  missing
            3  0.71  0.01  0.7  0.72        0
        """
        values.checked_name(metric)
        _check_confidence(confidence)
        resamples = _checked_int(resamples, "resamples", 100, 1_000_000)
        random_seed = _checked_int(random_seed, "random_seed", 0, 2**63 - 1)
        any_status = filters.get("status") is not None
        with self._reading() as connection, reading.one_state(connection):
            number, better = self._metric_and_mode(connection, metric, mode)
            selection = self._selection(connection, filters)
            measured = comparing.measured(connection, selection, number, _summary(value, better))
            groups = self._groups(connection, group_by, [one.number for one in measured])
        by_number = {one.number: one for one in measured}
        rows: list[StatisticsRow] = []
        for group, numbers in groups:
            sample = _sample([by_number[number] for number in numbers], any_status)
            found = summarize(list(sample.values.values()), confidence, resamples, random_seed)
            left_out = (sample.missing, sample.non_finite, sample.unfinished)
            rows.append(StatisticsRow(group, metric, *found[:6], *found.interval, *left_out, tuple(sample.values)))
        sign = -1 if better == "max" else 1
        rows.sort(key=lambda row: (row.mean is None, sign * (row.mean or 0.0)))
        return Result(StatisticsRow._fields, rows)

    def test(
        self,
        metric: str,
        a: Group,
        b: Group | Sequence[Group],
        *,
        paired_by: str | None = None,
        value: Literal["best", "last"] = "best",
        mode: Literal["max", "min"] | None = None,
        confidence: float = 0.95,
        least: int = LEAST_FOR_TEST,
        **filters: Unpack[ExperimentFilters],
    ) -> Result[ContrastRow]:
        """Test whether the mean of a metric differs between groups: a against b, or against each of several b.

        Welch's t test with Hedges' g, or the paired t test with d_z; p-values of several pairs are adjusted too (Holm
        1979). `crackseg_tracker.statistics` names the sources. Where there are too few values, ``reason`` says so in
        place of a p-value. Only completed experiments count, unless ``status`` says otherwise; what is left out is
        counted.

        Args:
            metric: Its name, exactly.
            a: A group: ``{"model.encoder": "resnet34"}``, ids such as ``"resnet34-*"``, or a list of ids.
            b: A group, or a list of groups.
            paired_by: The param that pairs an experiment of a with one of b, such as "seed" (``training.seed`` if that
                is the only one of this name). Default: no pairs.
            value: Of each experiment its "best" value or its "last".
            mode: Which is better; default: as defined for the metric, else assumed from its name.
            confidence: Of the interval of the difference, from 0.5 to 0.999.
            least: Values in each group, or pairs, that a p-value takes.
            **filters: Of both groups; see `crackseg_tracker.filters.ExperimentFilters`.

        Raises:
            NotFoundError: Nobody has such a metric or param, or an id is unknown; suggests the nearest.
            InvalidValueError: An experiment is in both groups, or a pairing is ambiguous.
            ModuleNotFoundError: A p-value is due, and SciPy is missing: ``pip install 'crackseg_tracker[statistics]'``.
        """
        values.checked_name(metric)
        _check_confidence(confidence)
        least = _checked_int(least, "least", 2, 1_000_000)
        if paired_by is not None:
            values.checked_text(paired_by, "paired_by")
        any_status = filters.get("status") is not None
        with self._reading() as connection, reading.one_state(connection):
            number, better = self._metric_and_mode(connection, metric, mode)
            asked = number, _summary(value, better)
            sides = [
                _Side(_label(group), comparing.measured(connection, self._members(connection, group, filters), *asked))
                for group in (a, *_several(b))
            ]
            keys = None if paired_by is None else _pairing(connection, paired_by, sides)
        one, *others = [_with_sample(side, any_status) for side in sides]
        rows = [_contrast(metric, better, (one, other), keys, confidence, least) for other in others]
        adjusted = holm([row.p_value for row in rows])
        return Result(ContrastRow._fields, [row._replace(p_holm=p) for row, p in zip(rows, adjusted, strict=True)])

    def _metric_and_mode(self, connection: Connection, metric: str, mode: str | None) -> tuple[int, str]:
        number, default = self._metric(connection, metric)
        return number, default if mode is None else values.checked_mode(mode)

    def _members(self, connection: Connection, group: Group, filters: Mapping[str, Any]) -> filtering.Selection:
        """Select the experiments of a group; every id in it must be known."""
        if not group:
            raise InvalidValueError(f"group {group!r} is empty; give params, ids, or a list of ids")
        if isinstance(group, Mapping):
            own = experiment_conditions({"params": group})
        else:
            ids = words(group, "group")
            for one in ids:
                if "*" not in one:
                    self._experiment_number(connection, one)
            own = experiment_conditions({"experiment_id": ids})
        return self._selected(connection, [*experiment_conditions(filters), *own])

    def _groups(
        self, connection: Connection, group_by: Words | None, numbers: Sequence[int]
    ) -> list[tuple[Mapping[str, ParamValue], list[int]]]:
        """Put experiments into groups, each with the params that tell it from the others."""
        if group_by is None:
            return [({}, list(numbers))]
        if isinstance(group_by, str) and group_by.startswith(_CONFIG_WITHOUT):
            patterns = checked_patterns(map(str.strip, group_by.removeprefix(_CONFIG_WITHOUT).split(",")), "group_by")
            params = comparing.params(connection, numbers)
            known = sorted({name for has in params.values() for name in has})
            for pattern in patterns:
                if known and not any(map(pattern_of((pattern,)).search, known)):
                    raise NotFoundError(f"no param {pattern!r} to group without; {suggestion(pattern, known)}")
            params = compare.without(params, pattern_of((*patterns, *SURROUNDINGS)))
            groups = compare.groups_of(params)
            names = compare.differing(params[first] for first in groups)
            return [(compare.chosen(params[first], names), members) for first, members in groups.items()]
        names = words(group_by, "group_by")
        for name in names:
            if not reading.is_param(connection, name):
                near = suggestion(name, reading.param_names(connection))
                raise NotFoundError(f"no param {name!r} to group by in {self.path}; {near}")
        params = comparing.params(connection, numbers, names)
        return [
            ({**dict.fromkeys(names), **compare.chosen(params[first], names)}, members)
            for first, members in compare.groups_of(params).items()
        ]


class _Side(NamedTuple):
    """A group of a test."""

    label: str
    members: list[Measured]
    sample: Sample = Sample({}, 0, 0, 0)


def _with_sample(side: _Side, any_status: bool) -> _Side:
    return side._replace(sample=_sample(side.members, any_status))


def _sample(members: Iterable[Measured], any_status: bool) -> Sample:
    return sample_of(((m.experiment_id, m.status, m.value) for m in members), any_status=any_status)


def _contrast(
    metric: str,
    mode: str,
    sides: tuple[_Side, _Side],
    keys: Mapping[str, ParamValue] | None,
    confidence: float,
    least: int,
) -> ContrastRow:
    """Test one pair of groups."""
    a, b = sides
    both = {m.experiment_id for m in a.members} & {m.experiment_id for m in b.members}
    if both:
        raise InvalidValueError(f"{', '.join(sorted(both)[:3])} is in both groups, {a.label!r} and {b.label!r}")
    if keys is None:
        of_a, of_b = list(a.sample.values.values()), list(b.sample.values.values())
        found, unpaired = welch(of_a, of_b, confidence, least), 0
    else:
        by_key = [_by_key(side, keys) for side in sides]
        pairs = [key for key in by_key[0] if key in by_key[1]]
        of_a, of_b = ([one[key] for key in pairs] for one in by_key)
        found = paired(of_a, of_b, confidence, least)
        unpaired = len(a.sample.values) + len(b.sample.values) - 2 * len(pairs)
    better = ""
    if found.difference:
        better = "a" if (found.difference > 0) == (mode == "max") else "b"
    left_out = [sum(counts) for counts in zip(a.sample[1:], b.sample[1:], strict=True)]
    return ContrastRow(
        metric=metric,
        a=a.label,
        b=b.label,
        better=better,
        p_holm=None,
        missing=left_out[0],
        non_finite=left_out[1],
        unfinished=left_out[2],
        unpaired=unpaired,
        **found._asdict(),
    )


def _by_key(side: _Side, keys: Mapping[str, ParamValue]) -> dict[ParamValue, float]:
    """Give the values by what pairs them; an experiment without it has no partner."""
    found: dict[ParamValue, str] = {}
    for experiment_id in side.sample.values:
        if experiment_id in keys:
            first = found.setdefault(keys[experiment_id], experiment_id)
            if first != experiment_id:
                raise InvalidValueError(
                    f"{first} and {experiment_id} of group {side.label!r} are both {keys[experiment_id]!r}, so neither "
                    "pairs with one of the other group; give groups with one of each"
                )
    return {key: side.sample.values[experiment_id] for key, experiment_id in found.items()}


def _pairing(connection: Connection, paired_by: str, sides: Sequence[_Side]) -> dict[str, ParamValue]:
    """Give the value of the pairing param by experiment."""
    members = {m.number: m.experiment_id for side in sides for m in side.members}
    matches = pattern_of(checked_patterns([paired_by], "paired_by")).search
    keys: dict[str, ParamValue] = {}
    known: set[str] = set()
    for number, has in comparing.params(connection, list(members)).items():
        known.update(has)
        names = [paired_by] if paired_by in has else [name for name in has if matches(name)]
        if len(names) > 1:
            raise InvalidValueError(
                f"paired_by {paired_by!r} may mean {' or '.join(map(repr, names))} of {members[number]}; give one"
            )
        if names:
            keys[members[number]] = compare.value_of(has[names[0]])
    if members and not keys:
        raise NotFoundError(
            f"no param {paired_by!r} to pair by in these groups; {suggestion(paired_by, sorted(known))}"
        )
    return keys


def _several(b: Group | Sequence[Group]) -> list[Group]:
    """Tell one group from several: a list of ids is one."""
    if isinstance(b, (str, Mapping)) or not isinstance(b, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        return [cast(Group, b)]
    groups = list(cast("Iterable[Group]", b))
    return [cast(Group, groups)] if all(isinstance(one, str) for one in groups) else groups


def _label(group: Group) -> str:
    if isinstance(group, Mapping):
        return ", ".join(f"{name}={value}" for name, value in group.items())
    return group if isinstance(group, str) else ", ".join(words(group, "group"))


def _summary(value: str, mode: str) -> str:
    if value not in ("best", "last"):
        raise InvalidValueError(f'value {value!r} is unknown; give "best" or "last"')
    return f"best {mode}" if value == "best" else value


def _check_confidence(confidence: float) -> None:
    if not isinstance(confidence, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidTypeError(
            f"confidence {confidence!r} is a {type(confidence).__name__}; give a number such as 0.95"
        )
    if not 0.5 <= confidence <= 0.999:
        raise InvalidValueError(f"confidence {confidence!r} is not from 0.5 to 0.999; give one such as 0.95")


def _checked_int(value: int, what: str, low: int, high: int) -> int:
    number = values.checked_step(value, what)
    if not low <= number <= high:
        raise InvalidValueError(f"{what} {value!r} is not from {low} to {high:,}")
    return number
