"""Pruners that work between two layers of the language model.

Each says what `keep` counts. With `budget="end"` it is the number of visual tokens in the last layers, as in `prune`
generally; with "average" the mean over all layers, by which methods with different schedules compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from solvers import rules
from solvers.arrays import Float64Array, FloatArray, IntArray
from solvers.names import nearest
from solvers.rules import Stage

from ..inside.evidence import StageEvidence
from ..inside.stage import AbstractInnerPruner

BUDGETS = ("end", "average")


@dataclass(frozen=True)
class _AtOneLayer(AbstractInnerPruner):
    """One stage, at one layer."""

    layer: int = 2
    budget: str = "end"

    def __post_init__(self) -> None:
        nearest(self.budget, BUDGETS, "budget")

    def _stages(self, tokens: int, layers: int, keep: int) -> tuple[Stage, ...]:
        return rules.fastv_schedule(tokens, layers, keep, layer=self.layer, budget=self.budget)


@dataclass(frozen=True)
class FastV(_AtOneLayer):
    """From one layer on, the tokens that the last token of the prompt attends to most in the layer before it.

    Position ids stay as they were, as in the reference.

    Parameters
    ----------
    layer
        First layer that runs on the shorter sequence, counted from 0: K, 2 in the paper.
    budget
        What `keep` counts, "end" (as in the paper) or "average".
    """

    name: ClassVar[str] = "fastv"
    needs: ClassVar[frozenset[str]] = frozenset({"attention"})
    cite: ClassVar[str] = rules.rule("fastv").citation

    def _choose(self, evidence: StageEvidence, stage: Stage) -> IntArray:
        return rules.fastv(evidence.attention, stage.keep)


@dataclass(frozen=True)
class PyramidDrop(AbstractInnerPruner):
    """Three stages a quarter of the layers apart, each with the tokens that the last token is about to attend to.

    Position ids are numbered anew at each stage, as in the reference.

    Parameters
    ----------
    budget
        What `keep` counts, "end" or "average".
    """

    budget: str = "end"
    name: ClassVar[str] = "pyramiddrop"
    position_ids: ClassVar[str] = "compact"
    needs: ClassVar[frozenset[str]] = frozenset({"upcoming"})
    cite: ClassVar[str] = rules.rule("pyramiddrop").citation

    def __post_init__(self) -> None:
        nearest(self.budget, BUDGETS, "budget")

    def _stages(self, tokens: int, layers: int, keep: int) -> tuple[Stage, ...]:
        return rules.pyramiddrop_schedule(tokens, layers, keep, budget=self.budget)

    def _choose(self, evidence: StageEvidence, stage: Stage) -> IntArray:
        return rules.pyramiddrop(evidence.upcoming, stage.keep)


@dataclass(frozen=True)
class SparseVLM(AbstractInnerPruner):
    """Three stages by the attention of the question's relevant words; the best of what goes is merged and stays.

    Version 1.5 of the reference, its default. Position ids are numbered anew at each stage. Where they are kept, a
    merged token has that of the first token of its cluster (a reading).

    Parameters
    ----------
    budget
        What `keep` counts: "end", "average", or "published", which gives the reference's tables for what it calls 192,
        128, 96 and 64 tokens. Merged tokens count.
    """

    budget: str = "end"
    merges: ClassVar[bool] = True
    name: ClassVar[str] = "sparsevlm"
    position_ids: ClassVar[str] = "compact"
    needs: ClassVar[frozenset[str]] = frozenset({"text_attention", "embeddings", "text_embeddings", "hidden"})
    cite: ClassVar[str] = rules.rule("sparsevlm").citation

    def __post_init__(self) -> None:
        nearest(self.budget, (*BUDGETS, "published"), "budget")

    def _stages(self, tokens: int, layers: int, keep: int) -> tuple[Stage, ...]:
        return rules.sparsevlm_schedule(tokens, layers, keep, budget=self.budget, version="1.5")

    def _choose(self, evidence: StageEvidence, stage: Stage) -> IntArray:
        return rules.sparsevlm(self._scores(evidence), stage.keep - stage.merged)

    def _clusters(self, evidence: StageEvidence, stage: Stage, kept: IntArray) -> IntArray:
        dropped = np.setdiff1d(np.arange(evidence.tokens), kept)
        scores = self._scores(evidence).mean(0)
        return rules.sparsevlm_recycle(evidence.hidden[dropped], scores[dropped], stage.merged)

    def _scores(self, evidence: StageEvidence) -> Float64Array:
        """Attention of the raters, mean over heads [rater, token]."""
        return np.asarray(_of_raters(evidence).mean(0, dtype=np.float64))


@dataclass(frozen=True)
class SparseVLMPlus(AbstractInnerPruner):
    """SparseVLM+, version 2 of the reference: three stages, attention corrected for the rotary embedding.

    Only the heads with most attention from the question to the image count, nothing is merged, and position ids stay.

    Parameters
    ----------
    budget
        What `keep` counts: "end", "average" or "published", as for `SparseVLM`.
    heads
        How many heads; None takes 14 of 32, and as large a share of other numbers (a reading).
    """

    budget: str = "end"
    heads: int | None = None
    name: ClassVar[str] = "sparsevlm_plus"
    needs: ClassVar[frozenset[str]] = frozenset({"text_attention", "embeddings", "text_embeddings", "rotary"})
    cite: ClassVar[str] = rules.rule("sparsevlm").citation

    def __post_init__(self) -> None:
        nearest(self.budget, (*BUDGETS, "published"), "budget")

    def _stages(self, tokens: int, layers: int, keep: int) -> tuple[Stage, ...]:
        return rules.sparsevlm_schedule(tokens, layers, keep, budget=self.budget, version="2.0")

    def _choose(self, evidence: StageEvidence, stage: Stage) -> IntArray:
        response = evidence.rotary[_raters(evidence)]
        return rules.sparsevlm(rules.sparsevlm_corrected(_of_raters(evidence), response, self.heads), stage.keep)


@dataclass(frozen=True)
class Dart(_AtOneLayer):
    """From one layer on, a few pivots with large keys and the tokens that least duplicate them.

    Position ids stay, as in FastV, from which the method starts (a reading: the official repository was not available).

    Parameters
    ----------
    layer
        First layer that runs on the shorter sequence; 2 in the paper.
    budget
        What `keep` counts, "end" or "average".
    pivots
        How many visual and how many text tokens are pivots.
    exact
        Whether exactly the budget stays; else as many as the published count comes to.
    """

    pivots: tuple[int, int] = (4, 4)
    exact: bool = True
    name: ClassVar[str] = "dart"
    needs: ClassVar[frozenset[str]] = frozenset({"keys", "text_keys", "normed", "text_normed"})
    cite: ClassVar[str] = rules.rule("dart").citation

    def _choose(self, evidence: StageEvidence, stage: Stage) -> IntArray:
        return rules.dart(
            evidence.keys,
            evidence.text_keys,
            stage.keep,
            self.pivots,
            states=evidence.normed,
            text_states=evidence.text_normed,
            exact=self.exact,
        )


@dataclass(frozen=True)
class Feather(AbstractInnerPruner):
    """FastV's score without rotary embedding beside a regular sample of the image, then the score alone.

    Where the tokens are no whole picture, because of tiles or because some are gone already, the sample takes every
    `stride`-th token of the row that they form (a reading). Position ids stay (a reading).

    Parameters
    ----------
    budget
        What `keep` counts, "end" or "average".
    stride
        Distance of the regular sample; 3 in the reference.
    exact
        Whether the sample counts within the budget of the first stage; else it comes on top, as published.
    """

    budget: str = "end"
    stride: int = 3
    exact: bool = True
    name: ClassVar[str] = "feather"
    needs: ClassVar[frozenset[str]] = frozenset({"unrotated"})
    cite: ClassVar[str] = rules.rule("feather").citation

    def __post_init__(self) -> None:
        nearest(self.budget, BUDGETS, "budget")

    def _stages(self, tokens: int, layers: int, keep: int) -> tuple[Stage, ...]:
        return rules.feather_schedule(tokens, layers, keep, budget=self.budget)

    def _choose(self, evidence: StageEvidence, stage: Stage) -> IntArray:
        if not evidence.first:
            return rules.fastv(evidence.unrotated, stage.keep)
        grid = evidence.grid or (1, evidence.tokens)
        return rules.feather(evidence.unrotated, stage.keep, grid, self.stride, exact=self.exact)


@dataclass(frozen=True)
class GreedyPruneInside(_AtOneLayer):
    """From one layer on, the tokens nearest to the question, none too similar to one already chosen.

    The published method works in a shallow layer of the language model; which one, and on what, was not found. All of
    this is a reading: the input of layer 2, the last token of the prompt, position ids that stay.

    Parameters
    ----------
    layer
        First layer that runs on the shorter sequence.
    budget
        What `keep` counts, "end" or "average".
    representation
        "hidden": the input of that layer. "key": attention keys of the layer before it. "embedding": what entered the
        first layer.
    text
        "last" token of the prompt, or "mean" of the words behind the image.
    threshold
        Largest cosine between two kept tokens; 0.9 is an option, the paper's value was not found.
    when_exhausted
        "fill" the budget with the most salient tokens left, or "stop" with fewer.
    """

    representation: str = "hidden"
    text: str = "last"
    threshold: float = 0.9
    when_exhausted: str = "fill"
    name: ClassVar[str] = "greedyprune_inside"
    cite: ClassVar[str] = rules.rule("greedyprune").citation

    def __post_init__(self) -> None:
        super().__post_init__()
        nearest(self.representation, SPACES, "representation")
        nearest(self.text, ("last", "mean"), "text")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(SPACES[self.representation])

    def _choose(self, evidence: StageEvidence, stage: Stage) -> IntArray:
        tokens, words = (getattr(evidence, name) for name in SPACES[self.representation])
        text: FloatArray = words[-1] if self.text == "last" else words.mean(0)
        return rules.greedyprune(tokens, text, stage.keep, self.threshold, self.when_exhausted)


SPACES = {
    "hidden": ("hidden", "text_hidden"),
    "key": ("keys", "text_keys"),
    "embedding": ("embeddings", "text_embeddings"),
}
"""Evidence of tokens and of words, by representation."""


def _raters(evidence: StageEvidence) -> IntArray:
    """The words that rate the tokens."""
    return np.flatnonzero(rules.sparsevlm_raters(evidence.embeddings, evidence.text_embeddings))


def _of_raters(evidence: StageEvidence) -> FloatArray:
    """Their attention [head, rater, token]."""
    return evidence.text_attention[:, _raters(evidence)]
