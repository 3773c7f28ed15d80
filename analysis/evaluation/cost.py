"""What a prompt costs before its first answer token: floating-point operations and the key-value cache.

Conventions, to be printed beside every number: two FLOPs per multiply-accumulate; every text token counted; the MLP
with the matrices it really has (three in a LLaMA: gate, up, down), and beside it the count with two, which FastV's
formula and its descendants use; attention not halved for causality; norms, softmax, embeddings, the LM head and the
pruner itself left out. Latency does not follow from these numbers and is never derived from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import pandas as pd
from torch import nn

from analysis.models import Vlm


@dataclass(frozen=True)
class Cost:
    """FLOPs of one prefill, and bytes of its cache.

    Attributes
    ----------
    n_visual, n_text
        Visual and text tokens that reach the language model.
    vision_flops
        The vision tower, all its layers and all its tokens: pruning comes after it.
    projector_flops
        The projector on every visual token: the stock forward projects before a pruner removes any.
    language_flops
        The language model's layers on `n_visual + n_text` tokens.
    language_flops_2ndm
        The same with two matrices per MLP, 2 L (4 n d² + 2 n² d + 2 n d m) for multi-head attention: the definition
        of Chen et al. 2024 (FastV, arXiv 2403.06764) at 2 per multiply-accumulate.
    kv_bytes
        Keys and values of all tokens in all layers, in the model's own number format.
    """

    n_visual: int
    n_text: int
    vision_flops: int
    projector_flops: int
    language_flops: int
    language_flops_2ndm: int
    kv_bytes: int

    @property
    def flops(self) -> int:
        """Vision tower, projector and language model together."""
        return self.vision_flops + self.projector_flops + self.language_flops


def cost(vlm: Vlm, n_visual: int, n_text: int) -> Cost:
    """Cost of prefilling a prompt of one image and `n_text` text tokens of which `n_visual` visual ones are kept.

    Counted over the modules of the model: an `nn.Linear` of W weights costs 2 W per token, attention of width d
    costs 4 n² d per layer. Equals `torch.utils.flop_counter` on the stock forward, the LM head apart.

    Raises
    ------
    ValueError
        If `n_visual` is not in [0, n], n being the visual tokens of an image, or `n_text` is negative.
    """
    model, adapter = vlm.model, vlm.adapter
    patches = adapter.tokens(model)
    if not 0 <= n_visual <= patches:
        raise ValueError(f"`n_visual` must be in [0, {patches}], got {n_visual}")
    if n_text < 0:
        raise ValueError(f"`n_text` must not be negative, got {n_text}")

    tower = model.config.vision_config
    convolutions = sum(m.weight.numel() for m in adapter.vision_tower(model).modules() if isinstance(m, nn.Conv2d))
    vision = 2 * patches * convolutions + _layers_flops(
        adapter.vision_layers(model), patches + adapter.has_cls, tower.hidden_size
    )

    text = model.config.get_text_config()
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    layers = adapter.text_layers(model)
    tokens = n_visual + n_text
    language = _layers_flops(layers, tokens, text.num_attention_heads * head_dim)
    third_matrix = 2 * tokens * text.hidden_size * text.intermediate_size
    key_value_heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    return Cost(
        n_visual=n_visual,
        n_text=n_text,
        vision_flops=vision,
        projector_flops=2 * patches * _linear_weights(adapter.projector(model)),
        language_flops=language,
        language_flops_2ndm=language - len(layers) * third_matrix,
        kv_bytes=2 * len(layers) * key_value_heads * head_dim * tokens * model.dtype.itemsize,
    )


def cost_table(vlm: Vlm, keeps: Sequence[int], n_text: int) -> pd.DataFrame:
    """The cost at each budget and of the stock model, a row each, fewest tokens last.

    Every pruner that works before the language model costs the same at the same budget, its own arithmetic apart.

    Returns
    -------
    pandas.DataFrame
        Columns keep, the fields of `Cost`, flops, and the shares saved against the stock model: `reduction` (of the
        total), `language_reduction`, `language_reduction_2ndm` and `kv_reduction`.
    """
    n = vlm.adapter.tokens(vlm.model)
    stock = cost(vlm, n, n_text)
    table = [_row(cost(vlm, keep, n_text), stock) for keep in sorted({n, *keeps}, reverse=True)]
    return pd.DataFrame(table)


def _row(pruned: Cost, stock: Cost) -> dict[str, int | float]:
    return {
        "keep": pruned.n_visual,
        **asdict(pruned),
        "flops": pruned.flops,
        "reduction": 1 - pruned.flops / stock.flops,
        "language_reduction": 1 - pruned.language_flops / stock.language_flops,
        "language_reduction_2ndm": 1 - pruned.language_flops_2ndm / stock.language_flops_2ndm,
        "kv_reduction": 1 - pruned.kv_bytes / stock.kv_bytes,
    }


def _linear_weights(module: nn.Module) -> int:
    return sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Linear))


def _layers_flops(layers: Iterable[nn.Module], tokens: int, attention_width: int) -> int:
    """Linear maps at two per weight and token; scores and their weighted sum at 2 n² d each."""
    return sum(2 * tokens * _linear_weights(layer) + 4 * tokens**2 * attention_width for layer in layers)
