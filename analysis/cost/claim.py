"""Where a reduction of 91 % in FLOPs and of 75 % in latency holds, and where it does not.

The abstract of Zhang et al. 2025 (VisPruner, arXiv 2412.01818v2) gives both for LLaVA-1.5-7B. The two numbers come out
of the table of LLaVA-NeXT-7B with 145 of 2880 tokens (page of FasterVLM, the first version of the paper); that they
were taken from there is derived, and not confirmed by the authors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from .count import cost
from .formulas import LLAMA_7B, fastervlm_flops, layer_macs_3ndm
from .models import architecture

FLOPS_CLAIM = 0.91
LATENCY_CLAIM = 0.75
PUBLISHED_MS = {"unpruned": 313.04, "145 tokens": 77.66}
"""CUDA time per sample on the page of FasterVLM (Theia-4869/FasterVLM@8494094): LLaVA-NeXT-7B, POPE, one A100-80GB, 145
tokens with FlashAttention. What the time spans is not said there."""


@dataclass(frozen=True)
class Setting:
    """A way to count, and budgets to look at.

    Parameters
    ----------
    model
        Name of a shipped model.
    counted
        What the operations are those of.
    text
        Text tokens that are counted.
    visual
        Visual tokens without pruning.
    keeps
        Budgets to look at.
    operations
        From visual tokens to operations, in any unit.
    """

    model: str
    counted: str
    text: int
    visual: int
    keeps: tuple[int, ...]
    operations: Callable[[int], float]

    def reduction(self, keep: int) -> float:
        """Share of the operations saved."""
        return 1 - self.operations(keep) / self.operations(self.visual)

    def largest_keep(self, reduction: float) -> int | None:
        """The largest budget that saves at least that share; None if removing every visual token does not."""
        return next((keep for keep in range(self.visual, -1, -1) if self.reduction(keep) >= reduction), None)


def settings() -> tuple[Setting, ...]:
    """The published count on the model of the table, and both counts, with and without text, on that of the claim."""
    llava = architecture("llava-1.5-7b")

    def language_only(text: int) -> Callable[[int], float]:
        return lambda visual: layer_macs_3ndm(visual + text, LLAMA_7B)

    budgets = (64, 32)
    fit = "encoder, one projector matrix, language model (FasterVLM's count)"
    return (
        Setting("llava-next-7b", fit, 0, 2880, (160, 145), fastervlm_flops),
        Setting("llava-1.5-7b", fit, 0, 576, budgets, lambda keep: fastervlm_flops(keep, crops=1)),
        Setting("llava-1.5-7b", "language model", 0, 576, budgets, language_only(0)),
        Setting("llava-1.5-7b", "language model", 20, 576, budgets, language_only(20)),
        Setting("llava-1.5-7b", "language model", 60, 576, budgets, language_only(60)),
        Setting(
            "llava-1.5-7b", "encoder, projector, language model", 60, 576, budgets, lambda n: cost(llava, n, 60).macs
        ),
    )


def claim_table() -> pd.DataFrame:
    """The claimed reduction of FLOPs in each setting and at each budget.

    Returns
    -------
    pandas.DataFrame
        Columns model, counted, text (tokens counted), visual, keep, reduction, holds (whether it is at least
        `FLOPS_CLAIM`) and largest_keep (the largest budget at which it would be; missing if there is none).
    """
    rows = [
        {
            "model": entry.model,
            "counted": entry.counted,
            "text": entry.text,
            "visual": entry.visual,
            "keep": keep,
            "reduction": entry.reduction(keep),
            "holds": entry.reduction(keep) >= FLOPS_CLAIM,
            "largest_keep": entry.largest_keep(FLOPS_CLAIM),
        }
        for entry in settings()
        for keep in entry.keeps
    ]
    return pd.DataFrame(rows).astype({"largest_keep": "Int64"})


def published_latency_reduction() -> float:
    """Share of the CUDA time saved in the published table: LLaVA-NeXT-7B, 145 of 2880 tokens, one A100-80GB.

    It holds for that model, budget and GPU. For LLaVA-1.5-7B no such table was found, and operations do not tell.
    """
    return 1 - PUBLISHED_MS["145 tokens"] / PUBLISHED_MS["unpruned"]
