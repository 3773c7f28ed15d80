"""METRICS, and tidy tables of them over an attention dump."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from dask.base import compute

from solvers.names import nearest

from . import dispersion, shift
from .stats import bootstrap_interval

SOURCES = {
    "vision CLS": ("cls", "vision_layer", "vision_head"),
    "text last token": ("last", "layer", "head"),
}
"""What attends to the visual tokens, and the variable, layer and head dimension of a dump that hold it."""


@dataclass(frozen=True)
class Metric:
    """A number per attention row.

    Parameters
    ----------
    name
        Its name in tables.
    function
        Called as ``function(weights)``, or ``function(weights, grid=grid)``, on a DataArray with the dimension "token".
    label
        Axis label for figures, with the unit.
    part
        Entry to take of a function that returns several numbers per row: (dimension, label).
    needs_grid
        Whether the function takes the grid of the tokens.
    """

    name: str
    function: Callable[..., xr.DataArray]
    label: str
    part: tuple[str, str] | None = None
    needs_grid: bool = False

    def __call__(self, weights: xr.DataArray, grid: tuple[int, int]) -> xr.DataArray:
        """The metric of every row of `weights` [..., token]."""
        result = self.function(weights, grid=grid) if self.needs_grid else self.function(weights)
        return result if self.part is None else result.sel({self.part[0]: self.part[1]}, drop=True)


METRICS: tuple[Metric, ...] = (
    Metric("entropy", dispersion.entropy, "entropy (nats)"),
    Metric("effective_tokens", dispersion.effective_tokens, "effective tokens"),
    Metric("participation_ratio", dispersion.participation_ratio, "participation ratio (tokens)"),
    Metric("gini", dispersion.gini, "Gini coefficient"),
    Metric("top_mass", dispersion.top_mass, "attention on the top 10 % of tokens"),
    Metric("spatial_spread", dispersion.spatial_spread, "spatial spread (image sides)", needs_grid=True),
    Metric("mean_index", shift.mean_index, "mean token index (0 first, 1 last)"),
    Metric("centroid_row", shift.centroid, "centroid row (0 top, 1 bottom)", ("axis", "row"), True),
    Metric("centroid_column", shift.centroid, "centroid column (0 left, 1 right)", ("axis", "column"), True),
    *(
        Metric(f"quartile_{q}", shift.quartile_share, f"attention on index quartile {q}", ("quartile", q))
        for q in shift.QUARTILES
    ),
    Metric("slope", shift.slope, "slope of relative attention over the index"),
    Metric("spearman_index", shift.spearman_index, "Spearman correlation with the index"),
    Metric("js_to_uniform", shift.js_to_uniform, "Jensen-Shannon divergence from even (nats)"),
    Metric("wasserstein_to_uniform", shift.wasserstein_to_uniform, "Wasserstein distance from even"),
)


def metric(name: str) -> Metric:
    """The entry of METRICS called `name`; KeyError with the nearest name if there is none."""
    known = {entry.name: entry for entry in METRICS}
    return known[nearest(name, known, "metric")]


def measure(dump: xr.Dataset, metrics: Iterable[Metric | str] = METRICS, *, heads: bool = False) -> pd.DataFrame:
    """Every metric of every attention row of a dump, as a tidy table.

    Parameters
    ----------
    dump
        Dataset of `analysis.capture_dataset`: `cls` [image, vision_layer, vision_head, token] and, or, `last`
        [image, layer, head, token], with the coordinate `image_id` [image] and the attributes `model` and `grid`. In
        memory or Dask-backed.
    metrics
        Entries or names of METRICS, or own ones.
    heads
        False: attention is averaged over the heads first. True: a row per head, with the column `head` (from 1).

    Returns
    -------
    pandas.DataFrame
        Columns model, source ("vision CLS", "text last token"), layer (from 1), image_id, metric, value.

    Raises
    ------
    ValueError
        If the dump holds neither variable, lacks the grid, or holds bad weights (images not captured are NaN).
    KeyError
        For an unknown metric name.
    """
    chosen = [metric(entry) if isinstance(entry, str) else entry for entry in metrics]
    grid = _grid(dump)
    lazy = {source: [entry(rows, grid) for entry in chosen] for source, rows in _sources(dump, heads)}
    (computed,) = compute(lazy)  # one pass over the dump for all metrics
    frames = [
        _tidy(dump, source, entry.name, values)
        for source, results in computed.items()
        for entry, values in zip(chosen, results, strict=True)
    ]
    table = pd.concat(frames, ignore_index=True) if frames and chosen else pd.DataFrame()
    columns = ["model", "source", "layer", *(["head"] if heads else []), "image_id", "metric", "value"]
    return table.reindex(columns=columns)


def summarise(
    table: pd.DataFrame, grid: tuple[int, int], *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Mean over images of a table of `measure`, with bootstrap intervals that resample images.

    Parameters
    ----------
    table
        What `measure` returned.
    grid
        Rows and columns of the visual tokens, for the value that even attention would have.
    level, resamples, seed
        As for `bootstrap_interval`.

    Returns
    -------
    pandas.DataFrame
        A row per model, source, layer (and head) and metric: estimate, low, high, images, uniform (the metric of even
        attention; NaN for metrics that are not in METRICS).
    """
    by = [name for name in ("model", "source", "layer", "head", "metric") if name in table]
    rows: list[dict[str, Any]] = []
    for key, part in table.groupby(by, sort=False):
        interval = bootstrap_interval(
            part["value"], groups=part["image_id"], level=level, resamples=resamples, seed=seed
        )
        rows.append(
            dict(zip(by, key, strict=True))
            | {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
            | {"images": part["image_id"].nunique()}
        )
    summary = pd.DataFrame(rows, columns=[*by, "estimate", "low", "high", "images"])
    even = xr.DataArray(np.ones(grid[0] * grid[1]), dims="token")
    uniform = {entry.name: float(entry(even, grid)) for entry in METRICS}
    return summary.assign(uniform=summary["metric"].map(uniform).astype(float))


def quartile_shares(summary: pd.DataFrame) -> pd.DataFrame:
    """The rows of a summary that hold the shares of the four index quartiles, with the column `quartile` (1 to 4)."""
    shares = summary[summary["metric"].str.fullmatch(r"quartile_[1-4]")]
    return shares.assign(quartile=shares["metric"].str[-1].astype(int)).reset_index(drop=True)


def mass_curves(dump: xr.Dataset, shares: Sequence[float] = dispersion.SHARES, *, offset: int = 0) -> pd.DataFrame:
    """Mean over images of the attention held by the top `shares` of the tokens, per source and layer.

    Each row is divided by its own sum first, as in the dispersion analysis of FasterVLM; see `dispersion.mass_curve`.

    Returns
    -------
    pandas.DataFrame
        Columns model, source, layer (from 1), share, mass.
    """
    lazy = {
        source: dispersion.mass_curve(rows, shares, offset=offset).mean("image")
        for source, rows in _sources(dump, heads=False)
    }
    return _means(dump, lazy, "share", "mass")


def profile(dump: xr.Dataset) -> pd.DataFrame:
    """Mean over images of the attention on each token position, per source and layer: the attention-shift curve.

    The weights are those of the softmax over all keys, not renormalised to the visual tokens.

    Returns
    -------
    pandas.DataFrame
        Columns model, source, layer (from 1), token (from 0), row, column, weight.
    """
    lazy = {source: rows.mean("image") for source, rows in _sources(dump, heads=False)}
    table = _means(dump, lazy, "token", "weight")
    table.insert(4, "row", table["token"] // _grid(dump)[1])
    table.insert(5, "column", table["token"] % _grid(dump)[1])
    return table


def _grid(dump: xr.Dataset) -> tuple[int, int]:
    if "grid" not in dump.attrs:
        raise ValueError("`dump` must have the attribute 'grid' (rows, columns), got none")
    rows, columns = dump.attrs["grid"]
    return int(rows), int(columns)


def _sources(dump: xr.Dataset, heads: bool) -> Iterator[tuple[str, xr.DataArray]]:
    """Attention [image, layer, (head,) token] by source, with the same dimension names for each, layers from 1."""
    found = False
    for source, (name, layer, head) in SOURCES.items():
        if name in dump:
            found = True
            rows = dump[name].rename({layer: "layer", head: "head"}).astype(np.float64)
            rows = rows if heads else rows.mean("head")
            yield source, rows.drop_vars(set(rows.coords)).assign_coords(layer=np.arange(1, rows.sizes["layer"] + 1))
    if not found:
        raise ValueError(f"`dump` must hold `cls` or `last`, got {', '.join(map(str, dump.data_vars)) or 'nothing'}")


def _tidy(dump: xr.Dataset, source: str, name: str, values: xr.DataArray) -> pd.DataFrame:
    labels = {"image": dump["image_id"].values if "image_id" in dump else np.arange(values.sizes["image"])}
    labels["layer"] = values["layer"].values
    if "head" in values.dims:
        labels["head"] = np.arange(1, values.sizes["head"] + 1)
    index = pd.MultiIndex.from_product([labels[str(dim)] for dim in values.dims], names=list(values.dims))
    table = pd.DataFrame({"value": np.asarray(values.values).ravel()}, index=index).reset_index()
    table = table.rename(columns={"image": "image_id"})
    return table.assign(model=dump.attrs.get("model", ""), source=source, metric=name)


def _means(dump: xr.Dataset, lazy: dict[str, xr.DataArray], over: str, value: str) -> pd.DataFrame:
    (computed,) = compute(lazy)
    frames = []
    for source, mean in computed.items():
        mean = mean.transpose("layer", over)
        labels = mean[over].values if over in mean.coords else np.arange(mean.sizes[over])
        index = pd.MultiIndex.from_product([mean["layer"].values, labels], names=["layer", over])
        table = pd.DataFrame({value: np.asarray(mean.values).ravel()}, index=index).reset_index()
        frames.append(table.assign(model=dump.attrs.get("model", ""), source=source))
    return pd.concat(frames, ignore_index=True)[["model", "source", "layer", over, value]]
