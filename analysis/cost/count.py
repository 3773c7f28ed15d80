"""Operations and cache of one question about one image, part by part.

Conventions, to be printed beside every number: a multiply-accumulate (MAC) is two FLOPs; every text token counts; the
MLP has the matrices it really has (three in a LLaMA: gate, up, down), and beside it stands the count with two, which
FastV's formula and its descendants use; attention is not halved for causality; norms, softmax, biases and embeddings
are left out. Latency does not follow from these numbers and is never derived from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral
from typing import Any

import pandas as pd
import torch

from analysis.models import Vlm
from solvers.names import nearest

from .architecture import Architecture
from .models import architecture, of_vlm
from .selectors import Choice, selector

PARTS = ("encoder", "projector", "selector", "prefill", "decode", "head")
"""Fields of `Cost` that add up to its `macs`."""
DTYPES = {name: getattr(torch, name).itemsize for name in ("float32", "bfloat16", "float16", "float8_e4m3fn")}
"""Number formats of a cache, with their bytes per value."""


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of a question and its answer, and bytes of the cache.

    Attributes
    ----------
    visual
        Visual tokens in each layer of the language model.
    text, new
        Text tokens of the prompt, and tokens of the answer.
    encoder
        The vision encoder, all its layers and all its tokens: pruning comes after it. Without the pooling head that a
        SigLIP may have, which nothing reads.
    projector
        The projector on every visual token: the stock forward projects before a pruner removes any.
    selector
        The choice of the tokens; 0 if no rule was named or nothing is dropped.
    prefill
        The language model's layers on the prompt.
    prefill_2ndm
        The same with two matrices per gated MLP, L (4 n d² + 2 n² d + 2 n d m) for multi-head attention: the definition
        of Chen et al. 2024 (FastV, arXiv 2403.06764).
    decode
        The layers on every answer token but the last, which nothing follows.
    head
        The language model's head, once per answer token; prefill alone (`new` 0) asks for no logits.
    kv_bytes
        Keys and values of all tokens in all layers when the last answer token is found.
    """

    visual: tuple[int, ...]
    text: int
    new: int
    encoder: int
    projector: int
    selector: int
    prefill: int
    prefill_2ndm: int
    decode: int
    head: int
    kv_bytes: int

    @property
    def macs(self) -> int:
        """All parts together."""
        return sum(getattr(self, part) for part in PARTS)

    @property
    def flops(self) -> int:
        """All parts together, at two per multiply-accumulate."""
        return 2 * self.macs


def cost(
    model: Vlm | Architecture | str,
    visual: int | Sequence[int] | None = None,
    text: int = 60,
    *,
    new: int = 0,
    rule: str | None = None,
    dtype: str | None = None,
) -> Cost:
    """What one image and a prompt of `text` tokens cost when `visual` visual tokens are left.

    A matrix of W entries costs W per token, attention of width d costs 2 n² d per layer of n tokens. Equals
    `torch.utils.flop_counter` on the stock classes.

    Parameters
    ----------
    model
        A loaded model, a result of `architecture` or `of_vlm`, or the name of a shipped one.
    visual
        Visual tokens that reach the language model; or, for pruning inside it, a sequence with the visual tokens in
        each layer, which may only fall. By default all.
    text
        Text tokens of the prompt.
    new
        Tokens of the answer. 0, the default, is the prefill without logits.
    rule
        Name of the rule that chooses, one of `SELECTORS`, for its own operations.
    dtype
        Number format of the cache, one of `DTYPES`; by default that of the model.

    Raises
    ------
    ValueError
        If tokens are negative, more than there are, grow from layer to layer, or are not one number per layer; or if
        the visual tokens of a loaded model depend on the image: `of_vlm` takes its size.
    KeyError
        If the name of the model, rule or number format is unknown; the nearest is suggested.

    Examples
    --------
    >>> counted = cost("llava-1.5-7b", 64, 60)
    >>> f"{2 * counted.prefill / 1e12:.2f} TFLOP, {counted.kv_bytes / 2**20:.0f} MiB"
    '1.61 TFLOP, 62 MiB'
    """
    shape = _architecture(model)
    profile = _profile(visual, shape)
    for name, number in (("text", text), ("new", new)):
        if not isinstance(number, Integral) or number < 0:
            raise ValueError(f"`{name}` must be a whole number of at least 0, got {number!r}")
    choose = None if rule is None else selector(rule)
    pruned = profile[-1] < shape.visual
    steps = max(new - 1, 0)
    value_bytes = shape.value_bytes if dtype is None else DTYPES[nearest(dtype, DTYPES, "number format")]
    lengths = [tokens + text for tokens in profile]
    layers = list(zip(shape.layers, lengths, strict=True))
    prefill = sum(block.macs(n, n) for block, n in layers)
    return Cost(
        visual=profile,
        text=text,
        new=new,
        encoder=shape.encoder_macs,
        projector=shape.projector_macs,
        selector=choose(Choice(shape, profile[-1], text)) if choose and pruned else 0,
        prefill=prefill,
        prefill_2ndm=prefill - sum(n * block.gate_matrix for block, n in layers),
        # A step attends to the prompt, to the steps before it and to itself.
        decode=sum(block.macs(1, n + step) for block, n in layers for step in range(1, steps + 1)),
        head=new * shape.head,
        kv_bytes=sum(block.cache_width * (n + steps) for block, n in layers) * value_bytes,
    )


def cost_table(model: Vlm | Architecture | str, keeps: Iterable[int], text: int = 60, **options: Any) -> pd.DataFrame:
    """The cost at each budget and of the stock model, a row each, fewest tokens last.

    Every pruner that works before the language model costs the same at the same budget, its own choice apart.

    Parameters
    ----------
    model, text, **options
        As for `cost`.
    keeps
        Visual tokens that reach the language model.

    Returns
    -------
    pandas.DataFrame
        Columns keep, the numbers of `Cost`, flops, and the shares saved against the stock model: `reduction` (of all
        parts), `prefill_reduction`, `prefill_reduction_2ndm` and `kv_reduction`.
    """
    shape = _architecture(model)
    stock = cost(shape, None, text, **options)
    counted = {keep: cost(shape, keep, text, **options) for keep in sorted({shape.visual, *keeps}, reverse=True)}
    return pd.DataFrame([{"keep": keep, **summary(entry, stock)} for keep, entry in counted.items()])


def summary(pruned: Cost, stock: Cost) -> dict[str, int | float]:
    """The numbers of `pruned`, and the shares that it saves against `stock`."""
    names = ("text", "new", *PARTS, "prefill_2ndm", "flops", "kv_bytes")
    saved = {"reduction": "flops", "prefill_reduction": "prefill", "prefill_reduction_2ndm": "prefill_2ndm"}
    saved["kv_reduction"] = "kv_bytes"
    shares = {share: _saved(getattr(pruned, name), getattr(stock, name)) for share, name in saved.items()}
    return {name: getattr(pruned, name) for name in names} | shares


def dropped_after(visual: int, keep: int, after: int, layers: int) -> list[int]:
    """Visual tokens in each layer if all of them pass `after` layers and `keep` the others: FastV's K.

    Raises
    ------
    ValueError
        If `after` is not in [0, layers), or `keep` not in [0, visual].
    """
    if not 0 <= after < layers:
        raise ValueError(f"`after` must be in [0, {layers - 1}], got {after}")
    _check_tokens("keep", keep, visual)
    return [visual] * after + [keep] * (layers - after)


def _architecture(model: Vlm | Architecture | str) -> Architecture:
    if isinstance(model, Vlm):
        return of_vlm(model)
    return architecture(model) if isinstance(model, str) else model


def _profile(visual: int | Sequence[int] | None, shape: Architecture) -> tuple[int, ...]:
    layers = len(shape.layers)
    everywhere = shape.visual if visual is None else visual
    profile = tuple(everywhere) if isinstance(everywhere, Iterable) else (everywhere,) * layers
    if len(profile) != layers:
        raise ValueError(f"`visual` must have {layers} numbers, one per layer, got {len(profile)}")
    for tokens in profile:
        _check_tokens("visual", tokens, shape.visual)
    if any(later > earlier for earlier, later in pairwise(profile)):
        raise ValueError(f"`visual` must not grow from layer to layer, got {list(profile)}")
    return tuple(int(tokens) for tokens in profile)


def _check_tokens(name: str, tokens: int, most: int) -> None:
    if not isinstance(tokens, Integral) or not 0 <= tokens <= most:
        raise ValueError(f"`{name}` must be in [0, {most}], got {tokens!r}")


def _saved(pruned: int, stock: int) -> float:
    return 1 - pruned / stock if stock else 0.0
