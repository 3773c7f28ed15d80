"""How many visual tokens each layer of a language model sees when some are dropped on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import Float64Array, IntArray
from .checks import budget as checked_budget
from .checks import choice, integer

BUDGETS = ("end", "average")


@dataclass(frozen=True)
class Stage:
    """One shortening of the sequence.

    Parameters
    ----------
    layer
        First layer, counted from 0, that runs on the shorter sequence: its input is what is shortened.
    keep
        Visual tokens from there on.
    merged
        How many of these stand for clusters of dropped tokens; the others are tokens of the stage before.

    Raises
    ------
    ValueError
        For a layer below 0, less than one token, or no token besides the merged ones.
    """

    layer: int
    keep: int
    merged: int = 0

    def __post_init__(self) -> None:
        for name, low in (("layer", 0), ("keep", 1), ("merged", 0)):
            if integer(name, getattr(self, name)) < low:
                raise ValueError(f"`{name}` must be at least {low}, got {getattr(self, name)}")
        if self.merged >= self.keep:
            raise ValueError(f"`merged` must be less than `keep`, {self.keep}, got {self.merged}")


def tokens_per_layer(stages: Sequence[Stage], tokens: int, layers: int) -> IntArray:
    """Visual tokens that each layer runs on.

    Parameters
    ----------
    stages
        In the order of their layers; none means that nothing is dropped.
    tokens
        Visual tokens n that enter the language model.
    layers
        Layers of the language model.

    Returns
    -------
    int64 [layer]

    Raises
    ------
    ValueError
        If the layers of the stages do not increase or are not all below `layers`, or a stage keeps more than there are.
    """
    _at_least_one("tokens", tokens)
    _at_least_one("layers", layers)
    counts: IntArray = np.full(layers, tokens, dtype=np.int64)
    before = Stage(0, tokens)
    for number, stage in enumerate(stages):
        if stage.layer >= layers or (number and stage.layer <= before.layer):
            raise ValueError(f"`stages` must have increasing layers below {layers}, got layer {stage.layer}")
        if stage.keep > before.keep:
            raise ValueError(f"`stages` must not keep more than the {before.keep} tokens left, got {stage.keep}")
        counts[stage.layer :] = stage.keep
        before = stage
    return counts


def average_tokens(stages: Sequence[Stage], tokens: int, layers: int) -> float:
    """Visual tokens per layer, mean over the layers; see `tokens_per_layer`."""
    return float(tokens_per_layer(stages, tokens, layers).mean())


def scaled_layers(published: Sequence[int], layers: int, of: int = 32) -> tuple[int, ...]:
    """Layers as deep in a model of `layers` as `published` ones in a model of `of`: nearest, from 1 on, all different.

    Raises
    ------
    ValueError
        If the model has too few layers for that.
    """
    scaled: list[int] = []
    for layer in published:
        scaled.append(max(round(layer * layers / of), scaled[-1] + 1 if scaled else 1))
    if scaled[-1] >= layers:
        raise ValueError(f"`layers` must be at least {len(scaled) + 1} for {len(scaled)} stages, got {layers}")
    return tuple(scaled)


def fitted(
    shape: Callable[[float], Float64Array], at: Sequence[int], tokens: int, layers: int, keep: int, budget: str
) -> tuple[int, ...]:
    """Tokens kept at the layers `at`, such that a budget is met.

    Parameters
    ----------
    shape
        Tokens at each stage, not rounded, for a parameter from 0 (none) to 1 (all). The last stage and the mean over
        layers grow with the parameter, and no stage has more than the one before.
    at
        Layers of the stages.
    tokens
        Visual tokens n that enter the language model.
    layers
        Layers of the language model.
    keep
        Budget in tokens, in [1, n].
    budget
        "end": that many in the last layers. "average": that many per layer on average; whole tokens per stage leave
        less than half a token of difference. Every stage keeps at least one token.

    Raises
    ------
    ValueError
        For a budget outside [1, n], or below the least average that is possible; the text names it.
    """
    _at_least_one("tokens", tokens)
    choice("budget", budget, BUDGETS)
    count = checked_budget(keep, tokens)
    spans = np.diff([*at, layers])
    # Token-layers left for the stages; those before the first one run on everything.
    left = count * layers - tokens * at[0]
    if budget == "average" and left < spans.sum():
        least = (tokens * at[0] + int(spans.sum())) / layers
        raise ValueError(
            f"`keep` must be at least {least:.4g} on average over {layers} layers, "
            f"of which {at[0]} run on all {tokens} tokens, got {count}"
        )

    def excess(parameter: float) -> float:
        if budget == "end":
            return float(shape(parameter)[-1]) - count
        return float(spans @ np.maximum(shape(parameter), 1.0)) - left

    *early, _ = np.maximum(np.rint(shape(_root(excess))), 1.0).astype(int).tolist()
    if budget == "end":
        return (*early, count)
    # The last stage takes up the rounding of the others.
    last = round((left - int(spans[:-1] @ np.array(early, dtype=np.int64))) / int(spans[-1]))
    return (*early, min(max(last, 1), early[-1] if early else tokens))


def _root(excess: Callable[[float], float]) -> float:
    """Where the non-decreasing `excess` crosses zero in [0, 1]."""
    from scipy.optimize import brentq  # half a second to import

    if excess(1.0) <= 0.0:
        return 1.0
    return 0.0 if excess(0.0) >= 0.0 else float(brentq(excess, 0.0, 1.0))


def _at_least_one(name: str, value: int) -> None:
    if integer(name, value) < 1:
        raise ValueError(f"`{name}` must be at least 1, got {value}")
