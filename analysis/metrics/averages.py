"""Averages of a dump over its images, as tidy tables for figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.base import compute

from . import agreement, dispersion
from .sources import grid_of, rows_by_source
from .stats import bootstrap_interval
from .weights import Float64Array, bin_overlap, over_tokens, probabilities


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
        for source, rows in rows_by_source(dump, heads=False)
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
    lazy = {source: rows.mean("image") for source, rows in rows_by_source(dump, heads=False)}
    table = _means(dump, lazy, "token", "weight")
    table.insert(4, "row", table["token"] // grid_of(dump)[1])
    table.insert(5, "column", table["token"] % grid_of(dump)[1])
    return table


def score_histogram(dump: xr.Dataset, bins: int = 200) -> pd.DataFrame:
    """How the scores of all tokens and images are distributed, per source and layer, relative to the largest of them.

    As in the dispersion analysis of FasterVLM (llava/eval/analyze_attn_dispersion.py, Theia-4869/FasterVLM@f5d5f12):
    scores as they are, divided by their maximum over tokens and images, in 200 bins. Shares are exact here; the
    reference plots 5 + log(share + 1e-8) under tick labels that are not decades.

    Returns
    -------
    pandas.DataFrame
        Columns model, source, layer (from 1), bin (from 0), score (middle of the bin, 1 = the largest score), share (of
        all scores), largest (the score that was divided by).

    Raises
    ------
    ValueError
        If `bins` is below 1.
    """
    if bins < 1:
        raise ValueError(f"`bins` must be at least 1, got {bins}")
    sources = dict(rows_by_source(dump, heads=False))
    (largest,) = compute({source: rows.max(["image", "token"]) for source, rows in sources.items()})
    lazy = {
        source: xr.apply_ufunc(
            _binned,
            rows if rows.chunks is None else rows.chunk({"token": -1}),
            largest[source],
            input_core_dims=[["token"], []],
            output_core_dims=[["bin"]],
            kwargs={"bins": bins},
            dask="parallelized",
            output_dtypes=[np.float64],
            dask_gufunc_kwargs={"output_sizes": {"bin": bins}},
        ).mean("image")
        for source, rows in sources.items()
    }
    table = _means(dump, lazy, "bin", "share")
    table.insert(4, "score", (table["bin"] + 0.5) / bins)
    peaks = {
        (source, int(layer)): float(peak) for source, of in largest.items() for layer, peak in of.to_series().items()
    }
    return table.assign(largest=[peaks[key] for key in zip(table["source"], table["layer"], strict=True)])


def selection_frequency(dump: xr.Dataset, keep: int, bins: int = 48) -> pd.DataFrame:
    """How often tokens along the index are among the `keep` most attended ones, per source and layer.

    The first panel of the attention-shift figure of the VisPruner project page (Theia-4869/VisPruner@e7c1a94), there
    in 48 bins of 12 tokens and divided by the largest; here the frequency itself.

    Returns
    -------
    pandas.DataFrame
        Columns model, source, layer (from 1), bin (from 1), position (middle of the bin, 0 the first token, 1 the
        last), frequency (mean over images and tokens of the bin, in [0, 1]), even (keep / tokens).

    Raises
    ------
    ValueError
        If `keep` or `bins` is not between 1 and the number of tokens.
    """
    lazy = {}
    for source, rows in rows_by_source(dump, heads=False):
        tokens = rows.sizes["token"]
        for name, number in (("keep", keep), ("bins", bins)):
            if not 1 <= number <= tokens:
                raise ValueError(f"`{name}` must be in [1, {tokens}], got {number}")
        even = keep / tokens
        lazy[source] = over_tokens(
            _selected_by_bin, rows, "token", part="bin", labels=tuple(range(1, bins + 1)), keep=keep, bins=bins
        ).mean("image")
    table = _means(dump, lazy, "bin", "frequency")
    table.insert(4, "position", (table["bin"] - 0.5) / bins)
    return table.assign(even=even)


def layer_agreement(
    dump: xr.Dataset,
    function: Callable[[xr.DataArray, xr.DataArray], xr.DataArray] = agreement.spearman,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How alike the attention of every two layers is, across sources, on the same images.

    Parameters
    ----------
    dump
        Dataset of `analysis.capture_dataset`.
    function
        Symmetric agreement of two rows, for example `functools.partial(jaccard_at_k, k=64)`.
    level, resamples, seed
        As for `bootstrap_interval`; images are resampled.

    Returns
    -------
    pandas.DataFrame
        Columns model, source, layer, other_source, other_layer, estimate (mean over images), low, high: a row per
        ordered pair, each layer with itself included.
    """
    sources = dict(rows_by_source(dump, heads=False))
    places = [(source, int(layer)) for source, rows in sources.items() for layer in rows["layer"].values]
    stack = xr.concat([rows.drop_vars("layer").rename(layer="place") for rows in sources.values()], "place")
    (computed,) = compute(
        [function(stack.isel(place=slice(at + 1)), stack.isel(place=at)) for at in range(len(places))]
    )
    rows = []
    for second, values in enumerate(computed):
        by_place = values.transpose("place", ...).values
        for first, per_image in enumerate(by_place):
            interval = bootstrap_interval(per_image, level=level, resamples=resamples, seed=seed)
            for one, other in {(first, second), (second, first)}:
                rows.append((*places[one], *places[other], interval.estimate, interval.low, interval.high))
    columns = ["source", "layer", "other_source", "other_layer", "estimate", "low", "high"]
    order = {place: at for at, place in enumerate(places)}
    rows.sort(key=lambda row: (order[row[:2]], order[row[2:4]]))
    table = pd.DataFrame(rows, columns=columns)
    table.insert(0, "model", dump.attrs.get("model", ""))
    return table


def _binned(rows: npt.NDArray[Any], largest: npt.NDArray[Any], bins: int) -> Float64Array:
    """Share of the tokens of each row [..., token] in each of `bins` bins from 0 to `largest` [..., bin]."""
    probabilities(rows)  # refuses what is no attention
    at = np.minimum((rows / np.asarray(largest)[..., None] * bins).astype(np.int64), bins - 1)
    flat = at.reshape(-1, at.shape[-1]) + np.arange(at.size // at.shape[-1])[:, None] * bins
    counts = np.bincount(flat.ravel(), minlength=flat.shape[0] * bins)
    result: Float64Array = counts.reshape(*at.shape[:-1], bins) / at.shape[-1]
    return result


def _selected_by_bin(p: Float64Array, keep: int, bins: int) -> Float64Array:
    overlap = bin_overlap(p.shape[-1], bins)
    return np.asarray((agreement.ranks(p) < keep) @ (overlap / overlap.sum(0)))


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
