"""EADP: tokens that cover the image where it is relevant to the question."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate
from scipy.special import entr, softmax

from ..arrays import Float64Array, IntArray
from ..greedy import greedy_picks
from ..objectives.weighted_facility_location import WeightedFacilityLocation
from ..problem import Problem
from .checks import budget, choice, grid_of, not_negative, per_token, real, token_vectors
from .ranking import ascending, strongest_first

SIMILARITIES = ("shifted", "clipped")
RELEVANCE_FLOOR = 1e-6
"""Added to the shifted relevance and to its range, as in the reference: no division by zero, no weight of zero."""


def eadp(
    features: npt.ArrayLike,
    relevance: npt.ArrayLike,
    keep: int,
    power: float = 1.0,
    *,
    normalise: bool = True,
    similarity: str = "shifted",
) -> IntArray:
    """Grow a set S greedily for f(S) = sum over tokens i of r_i^power max over j in S of s_ij.

    The weight sits on the covered token, so this is facility location: monotone and submodular, and greedy reaches at
    least 1 - 1/e of the best value. As an objective for any solver it is `solvers.WeightedFacilityLocation`.

    Parameters
    ----------
    features
        Projected visual tokens, as they enter the language model [token, dim]; only directions count.
    relevance
        Relevance r of each token to the question [token], larger is more relevant: what `eadp_scores` returns, or a
        plainer score.
    keep
        Number of tokens k to keep, in [1, n].
    power
        Exponent of the relevance, in [0, 100]: above 1 it sharpens, which the paper calls polarisation. The reference's
        scripts default to 1.
    normalise
        Rescale the relevance to (0, 1] by its minimum and maximum. False takes it as it is, not negative: for what
        `eadp_scores` returns, which is rescaled before it is smoothed.
    similarity
        What s is: "shifted" means (1 + cosine) / 2, as in the reference; "clipped" means max(0, cosine), so that tokens
        without a common direction do not cover each other.

    Returns
    -------
    int64 [keep]
        Kept tokens, ascending. Equal gains go to the lower index; so do tokens once nothing is left to cover.

    Raises
    ------
    ValueError
        For NaN or infinite values, wrong shapes, a zero feature row, a relevance that is negative where `normalise` is
        False, a power outside [0, 100], a budget outside [1, n], or an unknown similarity.

    Notes
    -----
    For several tiles the reference divides the budget in proportion to the sum of their weights; here that is up to the
    caller.

    References
    ----------
    X. Wang et al. (2026), ECCV, arXiv:2607.02484; code SJTU-DeepVisionLab/EADP@46a6fdb,
    LLaVA/llava/model/llava_arch.py, `encode_images` and `greed_select`.
    """
    vectors = token_vectors("features", features)
    relevant = per_token("relevance", relevance, tokens=len(vectors))
    count = budget(keep, len(vectors))
    exponent = real("power", power, 0.0, 100.0)
    choice("similarity", similarity, SIMILARITIES)
    weight = _rescaled(relevant) if normalise else not_negative("relevance", relevant)
    # A common factor changes no pick; dividing by the largest keeps powers in the float range.
    signals = {"relevance": (weight / (weight.max() or 1.0)) ** exponent}
    problem = Problem.from_features(vectors, count, signals=signals)
    if similarity == "shifted":
        problem = Problem.from_similarity((1.0 + problem.similarity) / 2.0, count, signals=signals)
    return ascending(greedy_picks(problem, WeightedFacilityLocation("relevance")))


def eadp_scores(
    whole: npt.ArrayLike,
    words: npt.ArrayLike,
    grid: tuple[int, int],
    *,
    mu: float = 0.5,
    quantile: float = 0.2,
    gamma: float = 0.01,
    scale: float = 100.0,
    sigma: float = 1.0,
) -> Float64Array:
    """Relevance of each token, from its similarity to the whole question and to the words that point somewhere.

    1. The entropy H_t of each word: of the softmax over the tokens of `scale` times its similarities.
    2. Only the `quantile` of words with the lowest entropy counts, weighted by the softmax of -H_t / gamma.
    3. mu times the similarity to the whole question plus (1 - mu) times that weighted mean, rescaled to (0, 1].
    4. A Gaussian of 3 x 3 tokens smooths the result over the image, mirrored at its borders.

    Parameters
    ----------
    whole
        Similarity of each token to the whole question [token], larger is more relevant. The reference takes CLIP:
        **minus** the cosine of patch and sentence embeddings, on purpose, as CDPruner.
    words
        The same for each word of the question, without the end token [word, token].
    grid
        Rows and columns of the tokens, rows * columns = n.
    mu
        Weight of the whole question, in [0, 1].
    quantile
        Share of the words that counts, in [0, 1]; rounded down, but at least one word.
    gamma
        Temperature of the weights of words, at least 1e-6.
    scale
        Inverse temperature of the softmax over tokens, in [0, 1e6].
    sigma
        Width of the Gaussian in tokens, in [1e-3, 1e6].

    Returns
    -------
    float64 [token]
        In (0, 1]: weights for `eadp(..., normalise=False)`.

    Raises
    ------
    ValueError
        For NaN or infinite values, wrong shapes, a grid that does not hold n tokens, or parameters outside their
        ranges.

    Notes
    -----
    All defaults are those of the reference. It averages over the chunks of a long question before step 3.

    References
    ----------
    As `eadp`; `entrpy_filter`, `local_aggregation` and `spatial_smoothing` there.
    """
    overall = per_token("whole", whole)
    single = token_vectors("words", words)
    if single.shape[1] != overall.size:
        raise ValueError(f"`words` must have shape [word, token] with {overall.size} tokens, got {single.shape}")
    shape = grid_of("grid", grid, overall.size)
    share, part = real("mu", mu, 0.0, 1.0), real("quantile", quantile, 0.0, 1.0)
    temperature, sharpness = real("gamma", gamma, 1e-6, 1e6), real("scale", scale, 0.0, 1e6)

    entropy = entr(softmax(sharpness * single, axis=1)).sum(axis=1)
    kept = strongest_first(-entropy)[: max(1, int(part * len(single)))]
    dense = softmax(-entropy[kept] / temperature) @ single[kept]
    scores = _rescaled(share * overall + (1.0 - share) * dense)
    near = np.exp(-0.5 * (np.arange(-1, 2) / real("sigma", sigma, 1e-3, 1e6)) ** 2)
    gaussian = np.outer(near, near) / near.sum() ** 2
    smooth: Float64Array = correlate(scores.reshape(shape), gaussian, mode="mirror").ravel()
    return smooth


def _rescaled(relevance: Float64Array) -> Float64Array:
    low, high = relevance.min(), relevance.max()
    rescaled: Float64Array = (relevance - low + RELEVANCE_FLOOR) / (high - low + RELEVANCE_FLOOR)
    return rescaled
