"""METRICS, and tidy tables of them over an attention dump."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from dask.base import compute

from solvers.names import nearest

from . import dispersion, shift
from .sinks import sink_share, without_sinks
from .sources import grid_of, rows_by_source
from .stats import bootstrap_interval


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
    Metric(
        "spatial_spread_patches",
        partial(dispersion.spatial_spread, unit="patch"),
        "spatial spread (patches)",
        needs_grid=True,
    ),
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


Detector = Callable[[xr.DataArray], xr.DataArray]
"""From attention rows [image, layer, (head,) token] to a mask of sinks, such as `attention_sinks`."""


def measure(
    dump: xr.Dataset,
    metrics: Iterable[Metric | str] = METRICS,
    *,
    heads: bool = False,
    sinks: Detector | Mapping[str, xr.DataArray] | None = None,
) -> pd.DataFrame:
    """Every metric of every attention row of a dump, as a tidy table.

    Parameters
    ----------
    dump
        Dataset of `analysis.capture_dataset`: `cls` [image, vision_layer, vision_head, token] and, or, `last`
        [image, layer, head, token], or others with these dimensions, with the coordinate `image_id` [image] and the
        attributes `model` and `grid`. In memory or Dask-backed.
    metrics
        Entries or names of METRICS, or own ones.
    heads
        False: attention is averaged over the heads first. True: a row per head, with the column `head` (from 1).
    sinks
        None measures the rows as they are. A function such as `attention_sinks`, or a mask by source with some of the
        dimensions [image, layer, head, token], measures them twice, the second time without the sinks, and adds the
        column `sinks` ("with", "without"), and the metrics `sink_share` (of the attention) and `sink_tokens` (their
        number).

    Returns
    -------
    pandas.DataFrame
        Columns model, source ("vision CLS", "text last token", ...), layer (from 1), image_id, metric, value.

    Raises
    ------
    ValueError
        If the dump holds no such variable, lacks the grid, or holds bad weights (images not captured are NaN); if a
        source has no mask, or one of another size, or a row has nothing but sinks.
    KeyError
        For an unknown metric name.
    """
    chosen = [metric(entry) if isinstance(entry, str) else entry for entry in metrics]
    grid = grid_of(dump)
    lazy: dict[tuple[str, str], dict[str, xr.DataArray]] = {}
    for source, rows in rows_by_source(dump, heads):
        lazy[source, "with"] = {entry.name: entry(rows, grid) for entry in chosen}
        if sinks is not None:
            mask = _mask(sinks, source, rows)
            share = sink_share(rows, mask)
            lazy[source, "with"] |= {"sink_share": share, "sink_tokens": xr.zeros_like(share) + mask.sum("token")}
            clean = without_sinks(rows, mask)
            lazy[source, "without"] = {entry.name: entry(clean, grid) for entry in chosen}
    (computed,) = compute(lazy)  # one pass over the dump for all metrics
    frames = [
        _tidy(dump, source, name, values).assign(sinks=variant)
        for (source, variant), results in computed.items()
        for name, values in results.items()
    ]
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    optional = [*(["head"] if heads else []), *(["sinks"] if sinks is not None else [])]
    return table.reindex(columns=["model", "source", "layer", *optional, "image_id", "metric", "value"])


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
        A row per model, source, layer (and head, sinks) and metric: estimate, low, high, images, uniform (the metric of
        even attention over all tokens; NaN for metrics that are not in METRICS).
    """
    by = [name for name in ("model", "source", "layer", "head", "sinks", "metric") if name in table]
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


def _mask(sinks: Detector | Mapping[str, xr.DataArray], source: str, rows: xr.DataArray) -> xr.DataArray:
    """The mask of one source, labelled as its rows are."""
    if callable(sinks):
        return sinks(rows)
    if source not in sinks:
        raise ValueError(f"`sinks` must have a mask for {source!r}, got {', '.join(map(repr, sinks)) or 'none'}")
    mask = sinks[source]
    mask = mask.drop_vars(set(mask.coords))
    strange = [str(dim) for dim in mask.dims if dim not in rows.dims or mask.sizes[dim] != rows.sizes[dim]]
    if strange:
        raise ValueError(
            f"the mask of {source!r} must match attention {dict(rows.sizes)}, got {dict(mask.sizes)}: see {strange[0]}"
        )
    return mask.assign_coords(layer=rows["layer"]) if "layer" in mask.dims else mask


def _tidy(dump: xr.Dataset, source: str, name: str, values: xr.DataArray) -> pd.DataFrame:
    labels = {"image": dump["image_id"].values if "image_id" in dump else np.arange(values.sizes["image"])}
    labels["layer"] = values["layer"].values
    if "head" in values.dims:
        labels["head"] = np.arange(1, values.sizes["head"] + 1)
    index = pd.MultiIndex.from_product([labels[str(dim)] for dim in values.dims], names=list(values.dims))
    table = pd.DataFrame({"value": np.asarray(values.values).ravel()}, index=index).reset_index()
    table = table.rename(columns={"image": "image_id"})
    return table.assign(model=dump.attrs.get("model", ""), source=source, metric=name)
