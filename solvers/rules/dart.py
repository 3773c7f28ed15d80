"""DART: a few pivots, and the tokens that least duplicate each of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, IntArray, unit_rows
from .checks import budget, integer, token_vectors
from .ranking import ascending, cosines, strongest_first


def dart(
    keys: npt.ArrayLike,
    text_keys: npt.ArrayLike,
    keep: int,
    pivots: tuple[int, int] = (4, 4),
    *,
    states: npt.ArrayLike | None = None,
    text_states: npt.ArrayLike | None = None,
    exact: bool = True,
) -> IntArray:
    """Keep the visual pivots, and for each pivot in turn the unclaimed tokens of lowest cosine with it.

    Pivots are the visual and the text tokens whose keys have the largest L1 norm.

    Parameters
    ----------
    keys
        Attention keys of the visual tokens, the heads side by side [token, dim], of the layer before the one whose
        input is shortened.
    text_keys
        Keys of the tokens after the image in the same layer [word, dim].
    keep
        Number of tokens k to keep, in [1, n].
    pivots
        How many visual and how many text tokens are pivots; at least one in total. Never more than there are.
    states, text_states
        Vectors to take the cosines of [token, dim] and [word, dim], both or neither. The re-implementation followed
        here takes the input of the shortened layer after the model's final norm. None takes the keys (a reading).
    exact
        True: exactly `keep` tokens. At most so many visual pivots; the rest of the budget is spread evenly, the first
        pivots claiming one more (a reading). False: as published, each pivot claims floor(keep / pivots) tokens beside
        the visual pivots, which count extra: 68 for a budget of 64.

    Returns
    -------
    int64 [keep], or another length where `exact` is False
        Kept tokens, ascending. Equal norms and equal cosines go to the lower index.

    Raises
    ------
    ValueError
        For NaN or infinite values, wrong shapes, a zero row where cosines are taken, a budget outside [1, n], numbers
        of pivots that are negative or add up to 0, or one of `states` and `text_states` without the other.

    Notes
    -----
    Pivots claim in the order of their norms, visual ones first; the reference walks a Python set, whose order is an
    accident of the positions. Where fewer tokens are left than a pivot may claim, it claims those; the reference fails.

    References
    ----------
    Z. Wen et al. (2025), EMNLP, arXiv:2502.11494; after the re-implementation in ModelTC/LightCompress@9701d03,
    llmc/compression/token_reduction/dart.py. The official repository was not available.
    """
    visual, text = _both("keys", keys, "text_keys", text_keys)
    count = budget(keep, len(visual))
    wanted = _pivot_counts(pivots)
    visual_pivots = _largest(visual, wanted[0])[: count if exact else None]
    text_pivots = _largest(text, wanted[1])
    if states is None and text_states is None:
        unit, text_unit = unit_rows("keys", visual), unit_rows("text_keys", text[text_pivots])
    else:
        visual_states, word_states = _states(states, text_states, (len(visual), len(text)))
        unit, text_unit = unit_rows("states", visual_states), unit_rows("text_states", word_states[text_pivots])
    directions = np.concatenate([unit[visual_pivots], text_unit])
    if exact:
        share, more = divmod(count - len(visual_pivots), len(directions))
        claims = [share + (number < more) for number in range(len(directions))]
    else:
        claims = [count // sum(wanted)] * len(directions)

    unclaimed = np.ones(len(unit), dtype=np.bool_)
    unclaimed[visual_pivots] = False
    for direction, claim in zip(directions, claims, strict=True):
        left = np.flatnonzero(unclaimed)
        unclaimed[left[np.argsort(cosines(unit[left], direction), kind="stable")[:claim]]] = False
    return ascending(np.flatnonzero(~unclaimed))


def _both(name: str, visual: npt.ArrayLike, text_name: str, text: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
    tokens, words = token_vectors(name, visual), token_vectors(text_name, text)
    if tokens.shape[1] != words.shape[1]:
        raise ValueError(f"`{text_name}` must have the dimension of `{name}`, {tokens.shape[1]}, got {words.shape[1]}")
    return tokens, words


def _states(
    states: npt.ArrayLike | None, text_states: npt.ArrayLike | None, rows: tuple[int, int]
) -> tuple[Float64Array, Float64Array]:
    if states is None or text_states is None:
        raise ValueError("`states` and `text_states` must be given together, got only one of them")
    tokens, words = _both("states", states, "text_states", text_states)
    if (len(tokens), len(words)) != rows:
        raise ValueError(
            f"`states` and `text_states` must have {rows[0]} and {rows[1]} rows like the keys, "
            f"got {len(tokens)} and {len(words)}"
        )
    return tokens, words


def _pivot_counts(pivots: tuple[int, int]) -> tuple[int, int]:
    try:
        visual, text = (integer("pivots", number) for number in pivots)
    except (TypeError, ValueError):
        raise ValueError(f"`pivots` must be two integers (visual, text), got {pivots!r}") from None
    if min(visual, text) < 0 or visual + text == 0:
        raise ValueError(f"`pivots` must not be negative and add up to at least 1, got {pivots!r}")
    return visual, text


def _largest(vectors: Float64Array, number: int) -> IntArray:
    """The `number` rows of largest L1 norm, largest first."""
    return strongest_first(np.abs(vectors).sum(axis=1))[:number]
