"""HiRED: a budget per tile by where the whole image is attended to, filled by attention."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..arrays import IntArray
from .checks import budget, choice, grid_of, integer, per_token, real
from .quotas import quotas
from .ranking import ascending, strongest_first

AREAS = ("squares", "runs")


def hired(attention: npt.ArrayLike, keep: int) -> IntArray:
    """Keep the tokens of one tile with the largest attention; `keep` is what `hired_quotas` gives the tile.

    On an image of a single tile this is the whole method, and that of FasterVLM up to the head reduction.

    Parameters
    ----------
    attention
        CLS attention in block 22 (0-based, the last but one) of the encoder [token], sum over heads.
    keep
        Number of tokens k to keep, in [1, n].

    Returns
    -------
    int64 [keep]
        Kept tokens, ascending. Equal attention goes to the lower index.

    Raises
    ------
    ValueError
        For NaN or infinite attention, a wrong shape, or a budget outside [1, n].

    References
    ----------
    K. H. I. Arif et al. (2024), AAAI 2025, arXiv:2408.10945; code hasanar1f/HiRED@502d6dd,
    transformers/src/transformers/models/llava_next/modeling_llava_next.py, `HiRED_token_selection`.
    """
    scores = per_token("attention", attention)
    return ascending(strongest_first(scores)[: budget(keep, scores.size)])


def hired_quotas(
    first_attention: npt.ArrayLike,
    grid: tuple[int, int],
    tiles: tuple[int, int],
    keep: int,
    alpha: float = 0.5,
    *,
    sizes: npt.ArrayLike | None = None,
    areas: str = "squares",
) -> IntArray:
    """Divide a budget among the whole image and its sub-images (tiles).

    The whole image gets `floor(alpha * keep)` tokens, and each sub-image a share of the others: that of its area in the
    n (1 - alpha) tokens of the whole image that CLS attends to most in the encoder's first block.

    Parameters
    ----------
    first_attention
        CLS attention of the whole image in the encoder's first block [token], sum over heads.
    grid
        Rows and columns of the tokens of the whole image, rows * columns = n.
    tiles
        Rows and columns of the sub-images that cover it.
    keep
        Tokens to keep of the whole image and all sub-images together.
    alpha
        Share of the whole image in the budget, in [0, 1].
    sizes
        Tokens of the whole image and of each sub-image, integers [1 + sub-images], which can be fewer where padding is
        cut off; default: n each.
    areas
        Which tokens of the whole image lie in a sub-image: "squares" means those whose centres do, as the paper's text
        has it; "runs" means equal stretches of the raster order, as the reference computes it, which are full-width
        bands wherever there is more than one column of sub-images.

    Returns
    -------
    int64 [1 + sub-images]
        Tokens to keep of the whole image, then of the sub-images in raster order: `keep` in all.

    Raises
    ------
    ValueError
        For NaN or infinite attention, wrong shapes, a grid that does not hold n tokens, sizes that are no integers of
        at least 0, an alpha outside [0, 1], unknown areas, or a budget outside [1, sum of sizes].

    Notes
    -----
    Deviation: the reference rounds every share down and drops the rest, so it keeps fewer than asked for. Here tokens
    left over go one by one to the sub-images of the largest shares and, if all are full, to the whole image.

    References
    ----------
    K. H. I. Arif et al. (2024), AAAI 2025, arXiv:2408.10945; code as `hired`, `HiRED_sub_img_budgets`.
    """
    scores = per_token("first_attention", first_attention)
    shape, cut = grid_of("grid", grid, scores.size), grid_of("tiles", tiles)
    share = real("alpha", alpha, 0.0, 1.0)
    choice("areas", areas, AREAS)
    held = _sizes(sizes, 1 + cut[0] * cut[1], scores.size)
    count = budget(keep, int(held.sum()))

    looked_at = strongest_first(scores)[: int(scores.size * (1.0 - share))]
    seen = np.bincount(_area_of_tokens(shape, cut, areas)[looked_at], minlength=cut[0] * cut[1])
    whole = min(int(count * share), int(held[0]))
    others = min(count - whole, int(held[1:].sum()))
    return np.concatenate([[count - others], quotas(seen.astype(np.float64), others, held[1:])])


def _area_of_tokens(grid: tuple[int, int], tiles: tuple[int, int], areas: str) -> IntArray:
    """Sub-image of each token of the whole image, int64 [token]."""
    rows, columns = grid
    if areas == "runs":
        tokens = np.arange(rows * columns, dtype=np.int64)
        return tokens * (tiles[0] * tiles[1]) // tokens.size
    down = (2 * np.arange(rows, dtype=np.int64) + 1) * tiles[0] // (2 * rows)
    across = (2 * np.arange(columns, dtype=np.int64) + 1) * tiles[1] // (2 * columns)
    area: IntArray = (down[:, None] * tiles[1] + across).ravel()
    return area


def _sizes(sizes: npt.ArrayLike | None, parts: int, tokens: int) -> IntArray:
    if sizes is None:
        return np.full(parts, tokens, dtype=np.int64)
    held = np.asarray(sizes)
    if held.shape != (parts,):
        raise ValueError(f"`sizes` must have shape [1 + sub-images] = [{parts}], got {held.shape}")
    return np.array([_size(size) for size in held.tolist()], dtype=np.int64)


def _size(value: object) -> int:
    size = integer("sizes", value)
    if size < 0:
        raise ValueError(f"`sizes` must not be negative, got {size}")
    return size
