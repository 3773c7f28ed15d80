"""Frames turned into tables for people: order, units, intervals, and the best entry of each column."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from analysis.figures import frames, palette
from analysis.figures.certified_gap import OBJECTIVE_NAMES
from analysis.figures.dispersion import METRIC_NAMES

from . import numbers


def _is_share(metric: str) -> bool:
    return metric == "top_mass" or metric.startswith("quartile_")


class Cell(NamedTuple):
    """One entry: the number, below it in small type what belongs to it, and what the column is sorted by."""

    text: str
    detail: str = ""
    bold: bool = False
    value: float | None = None


def _sortable(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


class Row(NamedTuple):
    """A named row; `color` is the swatch before the name, `quiet` marks what does not compete."""

    name: str
    cells: Sequence[Cell]
    color: str = ""
    quiet: bool = False


class Group(NamedTuple):
    """Columns under one heading; a heading of "" spans them silently."""

    title: str
    columns: Sequence[str]


class Table(NamedTuple):
    """A table ready to print."""

    title: str
    corner: str
    groups: Sequence[Group]
    rows: Sequence[Row]
    note: str = ""

    @property
    def wide(self) -> bool:
        """Whether columns have to be set close to fit a page."""
        return sum(len(group.columns) for group in self.groups) > 7

    @property
    def grouped(self) -> bool:
        """Whether a heading over the columns is needed."""
        return any(group.title for group in self.groups)


def _lookup(frame: pd.DataFrame, index: Sequence[str]) -> dict[tuple[object, ...], dict[str, float]]:
    """Rows by the values of `index`; the last one wins."""
    records: list[dict[Any, Any]] = frame.to_dict("records")
    return {tuple(record[name] for name in index): record for record in records}


def accuracy_table(accuracy: pd.DataFrame) -> Table:
    """Mean accuracy: a row per pruner, a column per budget; the best contender of each column is marked."""
    keeps = frames.budgets(accuracy)
    cells = _lookup(accuracy[accuracy["task"] == frames.MEAN], ("pruner", "keep"))
    order = frames.ranked(accuracy, frames.chosen_budget(accuracy, None, "accuracy"))
    order += [name for name in accuracy["pruner"].unique() if name != frames.FULL and name not in order]
    columns = [[cells.get((name, keep)) for name in order] for keep in keeps]
    rows = _pruner_rows(order, columns)
    full = frames.full_model(accuracy)
    if full is not None:
        cell = _share(dict(full))
        rows.insert(0, Row(f"Full model, {int(full['keep'])} tokens", [cell] * len(keeps), palette.INK, quiet=True))
    return Table(
        "Accuracy in percent, mean over tasks",
        "Pruner",
        [Group("Visual tokens kept", [str(keep) for keep in keeps])],
        rows,
        "Small print: 95 % interval. Bold: best of each column, the oracle left out.",
    )


def task_table(accuracy: pd.DataFrame, keep: int) -> Table:
    """Accuracy per task at one budget: a row per pruner, best mean first."""
    tasks = [*frames.tasks(accuracy), frames.MEAN]
    cells = _lookup(accuracy[accuracy["keep"] == keep], ("pruner", "task"))
    order = frames.ranked(accuracy, keep)
    rows = _pruner_rows(order, [[cells.get((name, task)) for name in order] for task in tasks])
    full = _lookup(accuracy[accuracy["pruner"] == frames.FULL], ("task",))
    if full:
        rows.insert(0, Row("Full model", [_share(full.get((task,))) for task in tasks], palette.INK, quiet=True))
    names = [task.replace("_", " ") for task in tasks]
    return Table(f"Accuracy in percent per task, {keep} tokens kept", "Pruner", [Group("", names)], rows)


def _pruner_rows(order: Sequence[str], columns: Sequence[Sequence[dict[str, float] | None]]) -> list[Row]:
    competing = set(frames.contenders(order))
    rows: list[list[Cell]] = [[] for _ in order]
    for column in columns:
        values = [record["estimate"] if record else math.nan for record in column]
        top = max((v for v, name in zip(values, order, strict=True) if name in competing and v == v), default=math.nan)
        for row, record, value, name in zip(rows, column, values, order, strict=True):
            row.append(_share(record)._replace(bold=value == top and name in competing))
    return [_pruner_row(name, cells) for name, cells in zip(order, rows, strict=True)]


def _share(record: dict[str, float] | None) -> Cell:
    if record is None:
        return Cell(numbers.NOTHING)
    interval = numbers.percent_interval(record["low"], record["high"])
    return Cell(numbers.percent(record["estimate"]), interval, value=_sortable(record["estimate"]))


def difference_tables(differences: pd.DataFrame | None, accuracy: pd.DataFrame) -> list[tuple[str, Table]]:
    """What was compared with, and for each the difference in points: a row per pruner, a column per budget."""
    if differences is None:
        return []
    order = frames.ranked(accuracy, frames.chosen_budget(accuracy, None, "accuracy"))
    found = []
    for against, rows in differences.groupby("against", sort=False):
        name = "the full model" if against == frames.FULL else palette.look(str(against)).label
        keeps = frames.budgets(rows)
        cells = _lookup(rows, ("pruner", "keep"))
        pruners = sorted(map(str, rows["pruner"].unique()), key=lambda p: order.index(p) if p in order else len(order))
        table = Table(
            f"Accuracy minus that of {name} on the same questions, in points",
            "Pruner",
            [Group("Visual tokens kept", [str(keep) for keep in keeps])],
            [_pruner_row(pruner, [_difference(cells.get((pruner, keep))) for keep in keeps]) for pruner in pruners],
            "Small print: 95 % interval, resampling images. Bold: p < 0.05 in a sign-flip test over images, corrected "
            "for asking about all pruners at once.",
        )
        found.append((name, table))
    return found


def _difference(record: dict[str, float] | None) -> Cell:
    if record is None:
        return Cell(numbers.NOTHING)
    ends = (record["low"], record["high"])
    interval = " to ".join(map(numbers.points, ends)) if all(map(math.isfinite, ends)) else ""
    significant, value = bool(record["p_corrected"] < 0.05), record["difference"]
    return Cell(numbers.points(value), interval, significant, _sortable(value))


def _pruner_row(pruner: str, cells: Sequence[Cell]) -> Row:
    look = palette.look(pruner)
    return Row(look.label, cells, look.color, quiet=palette.is_baseline(pruner))


def selection_table(selection: pd.DataFrame, keep: int) -> Table:
    """Value, certified gap and time: a row per solver or rule, columns per objective."""
    rows = selection[selection["keep"] == keep]
    objectives = [str(name) for name in rows["objective"].unique()]
    cells = _lookup(rows, ("solver", "objective"))
    order = rows.drop_duplicates("solver").set_index("solver")["kind"].to_dict()
    smallest = {
        objective: min(
            (r["gap"] for (_, o), r in cells.items() if o == objective and math.isfinite(r["gap"])), default=None
        )
        for objective in objectives
    }

    def triple(solver: str, objective: str) -> Iterable[Cell]:
        record = cells.get((solver, objective))
        if record is None:
            return [Cell("not run"), Cell(numbers.NOTHING), Cell(numbers.NOTHING)]
        if not math.isfinite(record["value"]):
            return [Cell("not supported"), Cell(numbers.NOTHING), Cell(numbers.NOTHING)]
        return [
            Cell(numbers.significant(record["value"], 4), value=_sortable(record["value"])),
            Cell(
                numbers.gap(record["gap"]),
                numbers.gap_interval(record["low"], record["high"]),
                record["gap"] == smallest[objective],
                _sortable(record["gap"]),
            ),
            Cell(numbers.duration(record["seconds"]), value=_sortable(record["seconds"])),
        ]

    return Table(
        f"Selections of {keep} tokens",
        "Solver or rule",
        [Group(OBJECTIVE_NAMES.get(name, name), ["value", "gap, %", "time"]) for name in objectives],
        [
            Row(
                palette.look(str(solver)).label,
                [cell for objective in objectives for cell in triple(str(solver), objective)],
                palette.kind_look(str(kind)).color,
                quiet=kind == "baseline",
            )
            for solver, kind in order.items()
        ],
        "Rules and baselines are scored here by objectives that they may not have been made for. Bold: smallest gap. "
        "The reason of what is not supported is in tables/selection.csv.",
    )


def attention_table(attention: pd.DataFrame) -> Table:
    """Every metric: a row per source and layer."""
    metrics = [str(name) for name in attention["metric"].unique()]
    cells = _lookup(attention, ("source", "layer", "metric"))
    places = attention[["source", "layer"]].drop_duplicates()

    def show(record: dict[str, float] | None, metric: str) -> Cell:
        if record is None:
            return Cell(numbers.NOTHING)
        number, interval = (
            (numbers.percent, numbers.percent_interval)
            if _is_share(metric)
            else (numbers.significant, numbers.significant_interval)
        )
        value = _sortable(record["estimate"])
        return Cell(number(record["estimate"]), interval(record["low"], record["high"]), value=value)

    rows = [
        _layer_row(str(source), int(layer), [show(cells.get((source, layer, metric)), metric) for metric in metrics])
        for source, layer in places.itertuples(index=False)
    ]
    uniform = attention.drop_duplicates("metric").set_index("metric")["uniform"].to_dict()
    if any(math.isfinite(value) for value in uniform.values()):
        reference: list[Cell] = [
            Cell(
                (numbers.percent if _is_share(metric) else numbers.significant)(uniform[metric]),
                value=_sortable(uniform[metric]),
            )
            for metric in metrics
        ]
        rows.append(Row("Perfectly even attention", reference, palette.MUTED, quiet=True))
    names = [METRIC_NAMES.get(metric, metric.replace("_", " ")) for metric in metrics]
    return Table("Dispersion of attention by layer", "Source and layer", [Group("", names)], rows, INTERVAL_NOTE)


def quartile_table(quartiles: pd.DataFrame) -> Table:
    """Share of attention on each quarter of the raster order, in percent."""
    cells = _lookup(quartiles, ("source", "layer", "quartile"))
    places = quartiles[["source", "layer"]].drop_duplicates()
    rows = [
        _layer_row(str(source), int(layer), [_share(cells.get((source, layer, q))) for q in (1, 2, 3, 4)])
        for source, layer in places.itertuples(index=False)
    ]
    columns = ["Q1 (top rows)", "Q2", "Q3", "Q4 (bottom rows)"]
    return Table(
        "Share of visual attention by quarter, %", "Source and layer", [Group("", columns)], rows, INTERVAL_NOTE
    )


INTERVAL_NOTE = "Small print: 95 % interval."


def _layer_row(source: str, layer: int, cells: Sequence[Cell]) -> Row:
    style = palette.source_look(source)
    return Row(f"{style.label}, layer {layer}", cells, style.color)


def cost_table(cost: pd.DataFrame) -> Table:
    """FLOPs and KV cache as percent of the full model: a row per pruner, a column per budget."""
    keeps = frames.budgets(cost)
    cells = _lookup(cost, ("pruner", "keep"))
    pruners = [str(name) for name in cost["pruner"].unique() if name != frames.FULL]

    def ratio(column: str) -> Callable[[str, int], Cell]:
        def show(name: str, keep: int) -> Cell:
            record = cells.get((name, keep))
            if not record:
                return Cell(numbers.NOTHING)
            return Cell(numbers.percent(record[column]), value=_sortable(record[column]))

        return show

    flops, kv = ratio("flops_ratio"), ratio("kv_ratio")
    return Table(
        "Cost in percent of the full model",
        "Pruner",
        [Group("Prefill FLOPs at", [str(k) for k in keeps]), Group("KV cache at", [str(k) for k in keeps])],
        [
            _pruner_row(name, [*(flops(name, keep) for keep in keeps), *(kv(name, keep) for keep in keeps)])
            for name in pruners
        ],
    )
