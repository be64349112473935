"""Comparison: what differs, what is the same, and what the differences are worth."""

from __future__ import annotations

import re
from collections.abc import Iterable
from sqlite3 import Connection
from typing import Any, Unpack

from crackseg_tracker import compare, values
from crackseg_tracker.catalog.arguments import suggestion, words
from crackseg_tracker.catalog.conditions import MOST_CONDITIONS, experiment_conditions
from crackseg_tracker.catalog.opened import OpenCatalog
from crackseg_tracker.compare import AblationRow, ComparedRow, Comparison, Difference, DuplicateRow
from crackseg_tracker.errors import InvalidValueError, NotFoundError
from crackseg_tracker.filters import Comparison as Compared
from crackseg_tracker.filters import Condition, ExperimentFilters, ParamField, Words
from crackseg_tracker.identity import IDENTITY_IGNORES, checked_patterns, identity_of, pattern_of
from crackseg_tracker.results import Result
from crackseg_tracker.store import comparing, reading
from crackseg_tracker.store.comparing import Completed

# So many params of the reference narrow an ablation in SQL; all of them are compared afterwards.
_NARROWING = min(40, MOST_CONDITIONS // 2)


class Comparisons(OpenCatalog):
    """What one asks of experiments side by side."""

    def compare(self, ids: Words) -> Comparison:
        """Put experiments side by side: the params that differ, best and last metrics, status, time, artifacts.

        Args:
            ids: At least two.

        Raises:
            NotFoundError: There is no such experiment; suggests the nearest.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> from crackseg_tracker import Catalog, ExperimentTracker
            >>> with TemporaryDirectory() as folder:
            ...     path = f"{folder}/c/catalog.db"
            ...     for name, encoder, iou in (("unet-1", "resnet34", 0.71), ("unet-2", "resnet50", 0.74)):
            ...         config = {"encoder": encoder, "lr": 0.1}
            ...         with ExperimentTracker(f"{folder}/{name}", name, config=config, catalog=path) as tracker:
            ...             tracker.log_metrics({"val/iou": iou}, step=0)
            ...     with Catalog(path) as catalog:
            ...         found = catalog.compare(["unet-1", "unet-2"])
            >>> print(found.params)
            param    unet-1    unet-2
            encoder  resnet34  resnet50
            >>> print(found.best_metrics)
            metric   mode  unet-1  unet-2
            val/iou  max     0.71    0.74
        """
        chosen = list(dict.fromkeys(words(ids, "ids")))
        if len(chosen) < 2:
            raise InvalidValueError(f"compare takes at least two experiments; this is {chosen}")
        with self._reading() as connection, reading.one_state(connection):
            numbers = self._experiment_numbers(connection, chosen)
            names = dict(zip(numbers, chosen, strict=True))
            rows = {row[0]: row[1:] for row in comparing.compared(connection, numbers)}
            params = comparing.params(connection, numbers)
            metrics = comparing.metrics(connection, numbers)
            artifacts = comparing.artifacts(connection, numbers)
        bests: dict[tuple[str, ...], dict[str, Any]] = {}
        lasts: dict[tuple[str, ...], dict[str, Any]] = {}
        for number, name, mode, best, last in metrics:
            if best is not None:
                bests.setdefault((name, mode), {})[names[number]] = best
            if last is not None:
                lasts.setdefault((name, mode), {})[names[number]] = last
        paths: dict[tuple[str, ...], dict[str, Any]] = {}
        for number, artifact_id, artifact_type, path in artifacts:
            paths.setdefault((artifact_id, artifact_type), {})[names[number]] = path
        return Comparison(
            Result(ComparedRow._fields, [ComparedRow._make(rows[number]) for number in numbers]),
            compare.params_side_by_side(chosen, [params[number] for number in numbers]),
            compare.side_by_side(["metric", "mode"], chosen, bests),
            compare.side_by_side(["metric", "mode"], chosen, lasts),
            compare.side_by_side(["artifact_id", "artifact_type"], chosen, paths),
        )

    def diff(self, a: str, b: str) -> Difference:
        """Tell what differs between two experiments: params, environment, packages, git.

        Raises:
            NotFoundError: There is no such experiment; suggests the nearest.
        """
        ids = [values.checked_text(one, "experiment_id") for one in (a, b)]
        with self._reading() as connection, reading.one_state(connection):
            numbers = self._experiment_numbers(connection, ids)
            params = comparing.params(connection, numbers)
            one, other = (comparing.environment(connection, number) for number in numbers)
        return Difference(
            compare.params_side_by_side(ids, [params[number] for number in numbers]),
            compare.facts_side_by_side("fact", ids, (one.machine, other.machine)),
            compare.facts_side_by_side("package", ids, (one.packages, other.packages)),
            compare.facts_side_by_side("fact", ids, (one.git, other.git)),
            (one.git_diff, other.git_diff),
        )

    def ablation(
        self,
        reference: str,
        param: str,
        *,
        identity_ignores: Iterable[str] = IDENTITY_IGNORES,
        **filters: Unpack[ExperimentFilters],
    ) -> Result[AblationRow]:
        """Find the experiments that differ from one in a param only: what is that param worth?

        Args:
            reference: The id of the one to start from; it is the first row.
            param: A name such as ``model.encoder``; all below it (``model.encoder.depth``) is part of it.
            identity_ignores: Patterns of the params that may differ too; default: seeds, paths, names and the machine
                (`crackseg_tracker.identity.IDENTITY_IGNORES`, where the patterns are explained).
            **filters: Of the others; see `crackseg_tracker.filters.ExperimentFilters`.

        Raises:
            NotFoundError: There is no such experiment, or it has no such param; suggests the nearest.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> from crackseg_tracker import Catalog, ExperimentTracker
            >>> with TemporaryDirectory() as folder:
            ...     path = f"{folder}/c/catalog.db"
            ...     for name, encoder, lr in (("a", "resnet34", 0.1), ("b", "resnet50", 0.1), ("c", "resnet50", 0.2)):
            ...         config = {"encoder": encoder, "lr": lr}
            ...         ExperimentTracker(f"{folder}/{name}", name, config=config, catalog=path).complete_experiment()
            ...     with Catalog(path) as catalog:
            ...         [(row.experiment_id, row.params) for row in catalog.ablation("a", "encoder")]
            [('a', {'encoder': 'resnet34'}), ('b', {'encoder': 'resnet50'})]
        """
        values.checked_text(reference, "reference")
        inside = re.compile(rf"^{re.escape(values.checked_text(param, 'param'))}(?=$|[.\[])")
        ignored = pattern_of(checked_patterns(identity_ignores, "identity_ignores"))
        with self._reading() as connection, reading.one_state(connection):
            number = self._experiment_number(connection, reference)
            has = comparing.params(connection, [number])[number]
            if not any(map(inside.search, has)):
                raise NotFoundError(f"{reference} has no param {param!r}; {suggestion(param, has)}")
            fixed = {name: value for name, value in has.items() if not inside.search(name) and not ignored.search(name)}
            selection = self._selected(connection, [*experiment_conditions(filters), *_equal(fixed)])
            params = comparing.params(connection, reading.numbers(connection, selection))
            found = [other for other, its in params.items() if compare.differ_only(has, its, inside, ignored)]
            params[number] = has
            numbers = [number, *found]
            rows = {row[0]: ComparedRow._make(row[1:]) for row in comparing.compared(connection, numbers)}
            bests = reading.bests_of(connection, numbers)
        names = {name for number in numbers for name in params[number]}
        shown = sorted(name for name in names if inside.search(name))
        others = [name for name in compare.differing(params[number] for number in numbers) if name not in shown]
        return Result(
            AblationRow._fields,
            [
                AblationRow(
                    rows[number].experiment_id,
                    rows[number].experiment_name,
                    rows[number].status,
                    compare.chosen(params[number], shown),
                    bests.get(number, {}),
                    compare.chosen(params[number], others),
                )
                for number in numbers
            ],
        )

    def duplicates(
        self, *, identity_ignores: Iterable[str] | None = None, **filters: Unpack[ExperimentFilters]
    ) -> Result[DuplicateRow]:
        """Find completed experiments that are the same: config, commit, uncommitted changes, data fingerprint.

        An experiment whose config tells nothing is the same as no other.

        Args:
            identity_ignores: Patterns of the params that do not count (see `crackseg_tracker.identity`); default: those
                that each tracker was given, which are seeds, paths, names and the machine unless told otherwise.
            **filters: See `crackseg_tracker.filters.ExperimentFilters`.
        """
        ignores = None if identity_ignores is None else checked_patterns(identity_ignores, "identity_ignores")
        with self._reading() as connection, reading.one_state(connection):
            selection = self._selected(connection, experiment_conditions(filters))
            experiments = comparing.completed(connection, selection)
            if ignores is not None:
                experiments = _told_apart_by(connection, experiments, ignores)
            groups: dict[tuple[Any, ...], list[Completed]] = {}
            for one in experiments:
                if one.identity_sha256:
                    same = (one.identity_sha256, one.data_fingerprint, one.git_commit, one.git_diff)
                    groups.setdefault(same, []).append(one)
            several = [group for group in groups.values() if len(group) > 1]
            numbers = [one.number for group in several for one in group]
            params = comparing.params(connection, numbers)
            bests = reading.bests_of(connection, numbers)
        rows: list[DuplicateRow] = []
        for i, group in enumerate(several, 1):
            names = compare.differing(params[one.number] for one in group)
            rows += [
                DuplicateRow(
                    i,
                    one.experiment_id,
                    one.experiment_name,
                    one.project,
                    one.completed_at,
                    one.git_commit,
                    one.data_fingerprint,
                    bests.get(one.number, {}),
                    compare.chosen(params[one.number], names),
                )
                for one in group
            ]
        return Result(DuplicateRow._fields, rows)


def _equal(params: compare.TypedParams) -> list[Condition]:
    """Want the same values, of as many params as are worth a condition."""
    known = [(name, compare.value_of(typed)) for name, typed in params.items() if typed.startswith(_COMPARABLE)]
    usable = [(name, value) for name, value in known if value == value and len(str(value)) < 1000]
    return [Compared(ParamField(name), "=", (value,)) for name, value in usable[:_NARROWING]]


_COMPARABLE = ("str:", "int:", "float:", "bool:")


def _told_apart_by(connection: Connection, experiments: list[Completed], ignores: tuple[str, ...]) -> list[Completed]:
    """Give experiments the identity that trackers with these patterns would have given them."""
    texts = comparing.config_texts(connection, sorted({one.config for one in experiments}))
    identities = {config: identity_of(text, ignores) for config, text in texts.items()}
    return [one._replace(identity_sha256=identities[one.config]) for one in experiments]
