"""DivPrune: tokens far apart from each other, by farthest-first traversal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..arrays import IntArray, unit_rows
from .checks import budget, token_vectors
from .ranking import ascending, cosines


def divprune(features: npt.ArrayLike, keep: int) -> IntArray:
    """Start with the token whose nearest neighbour is farthest, then add the one farthest from those chosen.

    Distance is one minus the cosine. It is the farthest-first greedy rule for max-min diversity: maximise the
    smallest distance between two kept tokens. Its factor 1/2 holds for the chord distance, which orders pairs
    alike; for one minus the cosine, which is no metric, that leaves 1/4.

    Parameters
    ----------
    features
        Projected visual tokens, as they enter the language model [token, dim]; only directions count.
    keep
        Number of tokens k to keep, in [1, n].

    Returns
    -------
    int64 [keep]
        Kept tokens, ascending. Equal distances go to the lower index.

    Raises
    ------
    ValueError
        For NaN or infinite features, a wrong shape, a zero row, or a budget outside [1, n].

    Notes
    -----
    Deviation: chosen tokens are excluded explicitly. The reference excludes them only by their
    distance 0 to themselves, so that with enough exact duplicates it can choose a token twice; and it needs
    two tokens to start.

    References
    ----------
    S. R. Alvar et al. (2025), CVPR, arXiv:2503.02175; code vbdi/divprune@799e2d95, `DivPrune`.
    """
    vectors = token_vectors("features", features)
    count = budget(keep, len(vectors))
    unit = unit_rows("features", vectors)
    distance = cosines(unit, unit)
    np.subtract(1.0, distance, out=distance)
    np.fill_diagonal(distance, np.inf)

    chosen = [int(np.argmax(distance.min(axis=1)))]
    nearest_chosen = distance[chosen[0]].copy()
    nearest_chosen[chosen[0]] = -np.inf
    while len(chosen) < count:
        token = int(np.argmax(nearest_chosen))
        chosen.append(token)
        np.minimum(nearest_chosen, distance[token], out=nearest_chosen)
        nearest_chosen[token] = -np.inf
    return ascending(chosen)
