"""How many tokens SparseVLM keeps at each stage, those made of the dropped ones included."""

from __future__ import annotations

import numpy as np

from ..arrays import Float64Array
from .checks import budget as checked_budget
from .checks import choice, integer
from .sparsevlm import clusters_of
from .stages import BUDGETS, Stage, fitted, scaled_layers

LAYERS = (3, 7, 16)
"""Layers of 32 whose input is shortened: the reference prunes after layers 2, 6 and 15, which still run in full."""
TOKENS = 576
PUBLISHED: dict[str, dict[int, tuple[int, int, int]]] = {
    "1.5": {64: (66, 30, 17), 96: (238, 48, 26), 128: (303, 110, 36), 192: (300, 200, 110)},
    "2.0": {64: (66, 34, 20), 96: (246, 54, 28), 128: (238, 108, 60), 192: (300, 200, 118)},
}
"""Tokens kept by attention at the stages, of 576, by version and by the budget that the reference calls it."""


def sparsevlm_schedule(
    tokens: int, layers: int, keep: int, *, budget: str = "average", version: str = "1.5"
) -> tuple[Stage, ...]:
    """Three stages after the published tables.

    Parameters
    ----------
    tokens
        Visual tokens n that enter the language model.
    layers
        Layers of the language model, at least 4.
    keep
        Budget in tokens, in [1, n].
    budget
        "published": `keep` is what the reference calls the budget: 192, 128, 96 and 64 of 576 give its tables. It is no
        count of the last layers, and smaller than the mean over all layers, which is 206.5, 145.4, 114.1 and 82.3 for
        version "1.5". "average": the mean over all layers is `keep`, up to the rounding to whole tokens. "end": `keep`
        tokens in the last layers.
    version
        "1.5" recycles dropped tokens (`Stage.merged` of them, see `sparsevlm_recycle`); "2.0" is SparseVLM+, which does
        not.

    Raises
    ------
    ValueError
        For a budget outside [1, n], an average below the least that is possible, too few layers, or an unknown kind of
        budget or version.

    Notes
    -----
    Readings, all but the four tables at 576 tokens and 32 layers: layers in proportion for other depths; counts in
    proportion for other n; between the tables, and from them to no and to all tokens, linear interpolation, in the
    label for "published" and such that the budget is met for the others; as many recycled tokens as the reference would
    make, but always at least one kept by attention.

    References
    ----------
    Y. Zhang et al. (2024), ICML 2025, arXiv:2410.04417; code Gumpest/SparseVLMs@26a5f48,
    llava/model/language_model/score.py.
    """
    choice("version", version, tuple(PUBLISHED))
    choice("budget", budget, ("published", *BUDGETS))
    count = checked_budget(keep, integer("tokens", tokens))
    at = scaled_layers(LAYERS, layers)
    labels, totals = _knots(version)

    def shape(label: float) -> Float64Array:
        return tokens * np.array([np.interp(label, labels, column) for column in totals.T])

    if budget == "published":
        kept = tuple(max(1, round(number)) for number in shape(count / tokens).tolist())
    else:
        kept = fitted(shape, at, tokens, layers, keep, budget)
    before = (tokens, *kept)
    return tuple(
        Stage(layer, after, recycled(ahead, after) if version == "1.5" else 0)
        for layer, ahead, after in zip(at, before, kept, strict=False)
    )


def recycled(tokens: int, keep: int) -> int:
    """How many of `keep` tokens are clusters, if `tokens` are shortened to that many and clusters are as published.

    Their number follows from how many tokens are dropped, which depends on it in turn; at least one token is kept by
    attention.
    """
    merged = 0
    while merged < clusters_of(tokens - keep + merged):
        merged += 1
    return min(merged, keep - 1)


def _knots(version: str) -> tuple[Float64Array, Float64Array]:
    """Labels [knot] and tokens at each stage [knot, stage] of the tables, as shares of all tokens, with 0 and 1."""
    rows = [(0.0, 0.0, 0.0)]
    for by_attention in PUBLISHED[version].values():
        before, row = TOKENS, []
        for count in by_attention:
            before = count + (clusters_of(before - count) if version == "1.5" else 0)
            row.append(before / TOKENS)
        rows.append((row[0], row[1], row[2]))
    rows.append((1.0, 1.0, 1.0))
    labels = np.array([0, *PUBLISHED[version], TOKENS]) / TOKENS
    return labels, np.array(rows)
