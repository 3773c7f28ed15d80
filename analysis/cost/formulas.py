"""The formulas that papers count with, one function each: to compare with a printed number, use the one behind it.

Numbers of the same name differ by what is in them: multiply-accumulates (MACs) or FLOPs (two per MAC), two or three
matrices per MLP, text tokens, the encoder. What a function counts is in its first line. None halves attention for
causality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True)
class Decoder:
    """A LLaMA: layers L, width d and MLP width m."""

    layers: int
    width: int
    mlp: int


LLAMA_7B = Decoder(32, 4096, 11008)
LLAMA_13B = Decoder(40, 5120, 13824)
CLIP_L = Decoder(24, 1024, 4096)
"""CLIP ViT-L/14; at 336 pixels it has 577 tokens."""
CROP_TOKENS = 577
DIVPRUNE_TEXT = (15, 15, 23, 83, 25, 113, 15, 39, 21, 91, 57)
"""Text tokens of the eleven benchmarks that DivPrune's script averages over."""


def layer_macs_2ndm(tokens: float, model: Decoder = LLAMA_7B) -> float:
    """MACs of a layer whose MLP has two matrices: 4 n d² + 2 n² d + 2 n d m.

    Chen et al. 2024 (FastV, arXiv 2403.06764) for a LLaMA, which has three; right for CLIP.
    """
    d = model.width
    return 4 * tokens * d**2 + 2 * tokens**2 * d + 2 * tokens * d * model.mlp


def layer_macs_3ndm(tokens: float, model: Decoder = LLAMA_7B) -> float:
    """MACs of a layer whose MLP has three matrices, as a LLaMA's has: 4 n d² + 2 n² d + 3 n d m."""
    return layer_macs_2ndm(tokens, model) + tokens * model.width * model.mlp


def fastv_reduction(tokens: float, removed: float, after: int, model: Decoder = LLAMA_7B) -> float:
    """Share of the MACs saved, two matrices per MLP: 1 - [K F(n) + (L - K) F((1 - R) n)] / (L F(n)).

    Chen et al. 2024 (FastV, arXiv 2403.06764); also in the papers of VisionZip and DivPrune. The printed values
    (K = 2: 45, 67, 80 %) lie below the formula on visual tokens alone (47.6, 70.8, 84.6 %), so `tokens` holds text too.

    Parameters
    ----------
    tokens
        Tokens n of a full layer.
    removed
        Share R of them that is removed, in [0, 1].
    after
        Layers K that see all of them, in [0, L].
    model
        The language model; LLaMA-7B by default.

    Raises
    ------
    ValueError
        If a number is outside its range.
    """
    if not 0 <= removed <= 1:
        raise ValueError(f"`removed` must be in [0, 1], got {removed}")
    if not 0 <= after <= model.layers:
        raise ValueError(f"`after` must be in [0, {model.layers}], got {after}")
    full, rest = layer_macs_2ndm(tokens, model), layer_macs_2ndm((1 - removed) * tokens, model)
    return 1 - (after * full + (model.layers - after) * rest) / (model.layers * full)


def fastv_keep_for_average(visual: int, average: int, after: int, layers: int = 32) -> int:
    """Tokens to keep after layer K so that the mean over all layers is `average`: what an equal budget means for FastV.

    Derived: n K + (L - K) keep = L average, to the nearest token.

    Raises
    ------
    ValueError
        If `after` is not in [0, layers), the K full layers alone exceed the average, or `average` is above `visual`.
    """
    if not 0 <= after < layers:
        raise ValueError(f"`after` must be in [0, {layers - 1}], got {after}")
    keep = (layers * average - after * visual) / (layers - after)
    if not 0 <= keep <= visual:
        raise ValueError(f"`average` must be in [{after * visual / layers:g}, {visual}], got {average}")
    return round(keep)


def sparsevlm_macs(tokens: Sequence[float], model: Decoder = LLAMA_7B) -> float:
    """MACs summed over layers, three matrices per MLP, on the tokens that each layer really has.

    SparseVLM (code), PyramidDrop and FitPrune.

    Raises
    ------
    ValueError
        If there is not one number per layer.
    """
    if len(tokens) != model.layers:
        raise ValueError(f"`tokens` must have {model.layers} numbers, one per layer, got {len(tokens)}")
    return sum(layer_macs_3ndm(n, model) for n in tokens)


def divprune_macs(visual: int, text: Sequence[int] = DIVPRUNE_TEXT, model: Decoder = LLAMA_7B) -> float:
    """MACs of all layers, two matrices per MLP, averaged over prompts of `text` tokens.

    Alvar et al. 2025 (DivPrune, arXiv 2503.02175), vbdi/divprune@799e2d9, tflops.py.
    """
    return fmean(model.layers * layer_macs_2ndm(visual + length, model) for length in text)


def divprune_ratio(visual: int, keep: int, text: Sequence[int] = DIVPRUNE_TEXT, model: Decoder = LLAMA_7B) -> float:
    """Share of the MACs that is left: the mean of the ratios of the prompts, not the ratio of `divprune_macs`."""
    return fmean(divprune_macs(keep, [length], model) / divprune_macs(visual, [length], model) for length in text)


def holitom_decode_macs(tokens: int, new: int = 100, model: Decoder = LLAMA_7B) -> float:
    """MACs of `new` answer tokens R after n tokens, two matrices: L R [(4 d² + 2 d m) + 2 (d n + d (R + 1) / 2)].

    HoliTom, and papers that count as DyCoke does; read in a secondary source.
    """
    d = model.width
    return model.layers * new * ((4 * d**2 + 2 * d * model.mlp) + 2 * (d * tokens + d * (new + 1) / 2))


def fastervlm_flops(keep: int, *, crops: int = 5, model: Decoder = LLAMA_7B) -> float:
    """FLOPs of CLIP on all crops, one projector matrix on the kept tokens and three matrices per MLP; no text.

    How Zhang et al. 2024 (FasterVLM, arXiv 2412.01818v1) and 2025 (VisPruner, v2) must have counted. Their code does
    not: the formula is fitted, and gives all eleven FLOPs of the FasterVLM page (Theia-4869/FasterVLM@8494094) to the
    printed two decimals. The real projector has two matrices.
    """
    language = model.layers * layer_macs_3ndm(keep, model)
    return 2 * (language + _crops_macs(crops) + keep * CLIP_L.width * model.width)


def fastervlm_fastv_flops(
    keep: int, visual: int = 2880, *, after: int = 2, crops: int = 5, model: Decoder = LLAMA_7B
) -> float:
    """FLOPs of FastV in the same table: all tokens in the projector and in K layers, the kept ones in the others."""
    full, rest = layer_macs_3ndm(visual, model), layer_macs_3ndm(keep, model)
    language = after * full + (model.layers - after) * rest
    return 2 * (language + _crops_macs(crops) + visual * CLIP_L.width * model.width)


def cache_bytes(tokens: float, layers: int, key_value_heads: int, head_width: int, value_bytes: int = 2) -> float:
    """Bytes of keys and values: 2 L h w n b. LLaVA-1.5-7B in half precision: 524288 per token."""
    return 2 * layers * key_value_heads * head_width * tokens * value_bytes


def fastv_mean_tokens(keep: int, visual: int, *, after: int = 2, layers: int = 32) -> float:
    """Tokens per layer on average if all pass K layers and `keep` the others; what FastV's cache goes by.

    With 2 layers it gives the printed cache of FasterVLM's table for 2160, 1440 and 720 tokens; for 290 and 145 the
    page prints 226.56 and 158.59 MiB where this gives 225.94 and 157.97.
    """
    return (after * visual + (layers - after) * keep) / layers


def _crops_macs(crops: int) -> float:
    return crops * CLIP_L.layers * layer_macs_2ndm(CROP_TOKENS, CLIP_L)
