"""What choosing the tokens costs, rule by rule: the matrix products, at one multiply-accumulate per pair of factors.

Sorting, normalising and comparing are left out, as softmax and norms are in the model. An attention row that a fused
kernel does not give is computed once more beside it, in one block of the encoder, from queries and keys that are there.
Few operations are not little time: VisPruner's are done in dozens of small steps one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from solvers.names import nearest
from solvers.rules.vispruner import DROPPED_PER_ROUND

from .architecture import Architecture

IMPORTANT_RATIO = 0.5
"""Share of VisPruner's budget that goes by attention; the default of the rule."""


@dataclass(frozen=True)
class Choice:
    """A choice to be made, for an architecture: `keep` visual tokens out of all, with `text` tokens in the prompt."""

    architecture: Architecture
    keep: int
    text: int

    @property
    def views(self) -> list[tuple[int, int]]:
        """Tokens of each picture of the encoder and how many of them stay: the budget is shared out evenly."""
        encoding = self.architecture.encoding
        tokens = encoding.projected // encoding.views
        share, rest = divmod(self.keep, encoding.views)
        return [(tokens, min(tokens, share + (view < rest))) for view in range(encoding.views)]

    @property
    def feature_width(self) -> int:
        """Of an encoder feature as the projector receives it; several patches side by side make one token of Qwen."""
        encoding = self.architecture.encoding
        return self.architecture.encoder[-1].attention_width * (encoding.patches // encoding.projected)

    @property
    def attended(self) -> int:
        """Tokens of one picture that attend to each other in a block with full attention."""
        encoding = self.architecture.encoding
        return encoding.patches // encoding.views + encoding.has_cls


def fastervlm(choice: Choice) -> int:
    """The CLS row of one block (arXiv 2412.01818v1); without a CLS token the mean of all rows, so the whole map."""
    encoding = choice.architecture.encoding
    rows = 1 if encoding.has_cls else choice.attended
    return encoding.views * rows * choice.attended * choice.architecture.encoder[-1].attention_width


def vispruner(choice: Choice) -> int:
    """FasterVLM's row, and the cosines of the even with the odd half of the pool in every round.

    Zhang et al. 2025 (arXiv 2412.01818v2), as Theia-4869/VisPruner@aefa01a computes them: anew in each round, 8 tokens
    fewer than before, with half of the budget left to attention.
    """
    return fastervlm(choice) + sum(
        choice.feature_width * _compared(tokens, keep) for tokens, keep in choice.views if keep < tokens
    )


def _compared(tokens: int, keep: int) -> int:
    """Pairs of an even and an odd token over all rounds."""
    important = int(keep * IMPORTANT_RATIO)
    pool, wanted, pairs = tokens - important, keep - important, 0
    while wanted and pool > wanted:
        even, odd = pool - pool // 2, pool // 2
        pairs += even * odd
        pool -= min(DROPPED_PER_ROUND, pool - wanted, even)
    return pairs


def fopru_rank(choice: Choice) -> int:
    """The whole attention map of one block (Jiang et al. 2024, arXiv 2411.14164)."""
    views, width = choice.architecture.encoding.views, choice.architecture.encoder[-1].attention_width
    return views * choice.attended**2 * width


def divprune(choice: Choice) -> int:
    """Cosines of all pairs of projected tokens of the image (Alvar et al. 2025, arXiv 2503.02175)."""
    return choice.architecture.visual**2 * choice.architecture.width


def cdpruner(choice: Choice) -> int:
    """Cosines of all pairs of a picture, and the updates of an incremental Cholesky factor.

    Zhang et al. 2025 (arXiv 2506.10967). The question's way through the text tower of CLIP is not counted.
    """
    width = choice.architecture.width
    return sum(tokens**2 * width + tokens * keep * (keep - 1) // 2 for tokens, keep in choice.views)


def greedyprune(choice: Choice) -> int:
    """Cosines of every token with the text vector and with each chosen one (Pei et al. 2025, arXiv 2506.13166)."""
    return (1 + choice.keep) * choice.architecture.visual * choice.architecture.width


def fastv(choice: Choice) -> int:
    """The last token's attention in one layer of the language model (Chen et al. 2024, arXiv 2403.06764)."""
    return (choice.architecture.visual + choice.text) * choice.architecture.layers[0].attention_width


SELECTORS: tuple[Callable[[Choice], int], ...] = (
    fastervlm,
    vispruner,
    fopru_rank,
    divprune,
    cdpruner,
    greedyprune,
    fastv,
)
"""Every rule whose products are counted, under the name it has in `solvers.rules`."""


def selector(name: str) -> Callable[[Choice], int]:
    """The entry of `SELECTORS` of that name.

    Raises
    ------
    KeyError
        If there is none; the nearest is suggested.
    """
    known = {entry.__name__: entry for entry in SELECTORS}
    return known[nearest(name, known, "selector")]
