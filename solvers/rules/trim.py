"""TRIM: the tokens nearest to the question by CLIP's measure, and the mean of the others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from .assignment import Assignment
from .checks import budget, per_token
from .prumerge import upper_outliers
from .ranking import ascending, strongest_first


def trim(relevance: npt.ArrayLike, keep: int | None) -> Assignment:
    """Keep the most relevant tokens as they are and add one that is the mean of all the others.

    Parameters
    ----------
    relevance
        Relevance of each token to the question [token], larger is more relevant. The reference takes **minus** the dot
        product, not normalised, of the projected patch and the text embedding of CLIP: similarity of patch and text is
        inverted there, and the sign is on purpose, as in `cdpruner`.
    keep
        Number of output tokens in [1, n], the mean included. None is the published, adaptive number: as many as have a
        softmax of the relevance (over the tokens) above Q3 + 1.5 IQR, and the mean. Only this number depends on the
        scale of the relevance.

    Returns
    -------
    Assignment
        For the encoder features before the projector: the kept tokens in index order, then the mean. The mean has no
        place of its own in the reference; its anchor is the last token that was not kept. Equal relevance goes to the
        lower index.

    Raises
    ------
    ValueError
        For NaN or infinite relevance, a wrong shape, or a budget outside [1, n].

    Notes
    -----
    Deviation: the reference keeps the tokens asked for and appends the mean; here it counts, so that budgets compare.

    References
    ----------
    D. Song et al. (2024), COLING 2025, arXiv:2409.10994; code FreedomIntelligence/TRIM@f5a232d,
    llava/model/multimodal_encoder/clip_encoder.py, `token_reduction` ("TextSim+").
    """
    scores = per_token("relevance", relevance)
    slots = upper_outliers(softmax(scores)) if keep is None else budget(keep, scores.size) - 1
    kept = ascending(strongest_first(scores)[:slots])
    dropped = np.setdiff1d(np.arange(scores.size), kept)
    weights = np.zeros((slots + 1, scores.size))
    weights[np.arange(slots), kept] = 1.0
    weights[slots, dropped] = 1.0 / dropped.size
    return Assignment(np.append(kept, dropped[-1]), weights)
