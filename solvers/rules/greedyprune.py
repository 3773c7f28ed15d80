"""GreedyPrune: the tokens nearest to the question, none too similar to one already chosen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..arrays import IntArray, unit_rows
from .checks import budget, choice, per_token, real, token_map, token_vectors
from .ranking import COSINE_DECIMALS, ascending, cosines, strongest_first

WHEN_EXHAUSTED = ("fill", "stop")


def greedyprune(
    features: npt.ArrayLike,
    text: npt.ArrayLike,
    keep: int,
    threshold: float = 0.9,
    when_exhausted: str = "fill",
    *,
    similarity: npt.ArrayLike | None = None,
) -> IntArray:
    """Walk the tokens from the most to the least salient and skip those too similar to a chosen one.

    Saliency is the cosine with the text vector. It is a greedy rule for: choose at most `keep` tokens of
    largest total saliency such that no two have a cosine above `threshold`, a weighted independent set of
    bounded size.

    Parameters
    ----------
    features
        Visual token vectors [token, dim], in the space of `text`; only directions count.
    text
        Vector of the last text token [dim].
    keep
        Number of tokens k to keep, in [1, n].
    threshold
        A token is skipped if its cosine with a chosen one is strictly above it. The paper's value was not
        found; 0.9 is an option taken over from a third-party re-implementation.
    when_exhausted
        What to do when every other token is too similar to a chosen one: "fill" the budget with the most
        salient tokens left, an option for experiments at a fixed token count, or "stop" with fewer than `keep`
        (what the paper does according to a third party).
    similarity
        The cosines of `features` [token, token], for those who have them already because they ask several questions
        about one image; None computes the rows of the kept tokens.

    Returns
    -------
    int64 [keep], or shorter with "stop"
        Kept tokens, ascending. Equal saliency goes to the lower index.

    Raises
    ------
    ValueError
        For NaN or infinite values, wrong shapes, a zero vector, a budget outside [1, n], a threshold that is
        not finite, or an unknown `when_exhausted`.

    References
    ----------
    R. Pei et al. (2025), arXiv:2506.13166. No official code was found; objective and greedy rule follow
    published reviews, in agreement with muy3938-creator/verlprune@ec01823. Which layer and representation
    `features` and `text` come from was not found either.
    """
    vectors = token_vectors("features", features)
    question = per_token("text", text)
    if question.size != vectors.shape[1]:
        raise ValueError(f"`text` must have the dimension of `features`, {vectors.shape[1]}, got {question.size}")
    count = budget(keep, len(vectors))
    limit = real("threshold", threshold)
    choice("when_exhausted", when_exhausted, WHEN_EXHAUSTED)

    near = None if similarity is None else token_map("similarity", similarity, len(vectors))

    unit = unit_rows("features", vectors)
    order = strongest_first(cosines(unit, unit_rows("text", question[None, :])[0]))
    active = np.ones(len(unit), dtype=bool)
    chosen: list[int] = []
    for token in order.tolist():
        if len(chosen) == count:
            break
        if active[token]:
            chosen.append(token)
            active &= (cosines(unit, unit[token]) if near is None else np.round(near[token], COSINE_DECIMALS)) <= limit
    if when_exhausted == "fill":
        left = order[~np.isin(order, chosen)]
        chosen += left[: count - len(chosen)].tolist()
    return ascending(chosen)
