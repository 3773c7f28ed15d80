"""Token merging in the vision encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from transformers import PreTrainedModel

from analysis.models import AbstractAdapter
from solvers.arrays import IntArray

from ..encoder_merging import EncoderMerging
from ..pruner import AbstractPruner, Keep, budget_of
from ..tokens import VisualTokens


@dataclass(frozen=True)
class ToMe(AbstractPruner):
    """Pairs of similar tokens become one in every layer of the encoder, up to the one whose output the features are.

    The budget sets how many pairs each layer merges. The published method classifies images; that the language model
    gets one token for each that is left, at the place of the one the others were merged into, is a reading.

    Parameters
    ----------
    proportional
        Whether attention counts a merged token as often as it has patches; True as published for models that were not
        trained with merging.
    """

    proportional: bool = True
    merges: ClassVar[bool] = True
    in_encoder: ClassVar[bool] = True
    name: ClassVar[str] = "tome"
    needs: ClassVar[frozenset[str]] = frozenset({"groups"})
    cite: ClassVar[str] = "D. Bolya et al. (2022), ICLR 2023, arXiv:2210.09461"

    def encoder_merging(self, model: PreTrainedModel, adapter: AbstractAdapter, keep: Keep) -> EncoderMerging:
        if not adapter.fixed_grid:
            raise ValueError(f"{self.name!r} needs pictures of one size, got the {model.config.model_type!r} family")
        return EncoderMerging(model, adapter, budget_of(keep, adapter.tokens(model), 0), self.proportional)

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        return np.unique(np.asarray(tokens.groups))
