"""MMTok: tokens that cover the words of the question and the tokens of the image."""

from __future__ import annotations

import numpy.typing as npt

from ..arrays import IntArray
from ..greedy import greedy_picks
from ..objectives.multimodal_facility_location import MultimodalFacilityLocation
from ..problem import Problem
from .checks import budget, token_vectors
from .ranking import ascending


def mmtok(
    features: npt.ArrayLike,
    words: npt.ArrayLike,
    keep: int,
    alpha: float = 0.5,
    text_temperature: float = 0.02,
    visual_temperature: float = 0.2,
) -> IntArray:
    """Grow a set S greedily for maximum coverage of words and tokens.

    f(S) = sum over words t of max over j in S of P_tj + alpha sum over tokens i of max over j in S of Q_ij, P the
    softmax over the tokens of the m words' cosines with them, divided by m, and Q that of the n tokens' cosines with
    one another, divided by n. This is facility location: monotone and submodular, so greedy reaches at least 1 - 1/e of
    the best value. As an objective for any solver it is `solvers.MultimodalFacilityLocation`.

    Parameters
    ----------
    features
        Projected visual tokens, as they enter the language model [token, dim]; only directions count.
    words
        Word vectors of the question in the same space [word, dim]: the language model's input embeddings. The reference
        leaves out stop words; that is up to the caller.
    keep
        Number of tokens k to keep, in [1, n].
    alpha
        Weight of the image, in [0, 1e6].
    text_temperature, visual_temperature
        Temperatures of the two softmaxes, at least 1e-3. The reference's core has 0.02 for the words, its selector
        0.01.

    Returns
    -------
    int64 [keep]
        Kept tokens, ascending. Equal gains go to the lower index; so do tokens once nothing is left to cover.

    Raises
    ------
    ValueError
        For NaN or infinite values, wrong shapes, vectors of different dimension, a zero row, a budget outside [1, n],
        or parameters outside their ranges.

    Notes
    -----
    Deviation: float64 on a fixed-point grid, so that ties do not depend on rounding; the reference takes float32.

    References
    ----------
    S. Dong et al. (2025), ICLR 2026, arXiv:2508.18264; code Ironieser/MMTok@d1522cd, mmtok/core.
    """
    tokens, question = token_vectors("features", features), token_vectors("words", words)
    if question.shape[1] != tokens.shape[1]:
        raise ValueError(f"`words` must have the dimension of `features`, {tokens.shape[1]}, got {question.shape[1]}")
    count = budget(keep, len(tokens))
    objective = MultimodalFacilityLocation(alpha, text_temperature, visual_temperature)
    problem = Problem.from_features(tokens, count, queries=question)
    return ascending(greedy_picks(problem, objective))
