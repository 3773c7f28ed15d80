"""`prune`: inside this context the language model sees the kept visual tokens only."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy.typing as npt
from torch import nn
from transformers import PreTrainedModel

from analysis.models import Vlm, adapter_for
from solvers.arrays import IntArray

from .hooks import PruningHooks
from .inputs import checked_policy
from .pruner import AbstractPruner, checked_keep
from .pruners import as_pruner
from .tokens import token_indices

_PRUNED: weakref.WeakSet[nn.Module] = weakref.WeakSet()


@contextmanager
def prune(
    model: Vlm | PreTrainedModel,
    pruner: AbstractPruner | str,
    keep: int,
    *,
    position_ids: str = "keep",
    seed: int = 0,
    needed: Sequence[npt.ArrayLike] | None = None,
) -> Iterator[None]:
    """Prune before the language model: `forward` and `generate` of the stock model see the kept visual tokens only.

    Text is never dropped. Batches with left padding, beams, several samples per prompt and runs without cache work;
    every prompt must hold exactly one image (prompts of text only pass through). Keeping all tokens leaves the
    computation as it is, to the bit. Afterwards, also after an exception, the model is as it was.

    `generate` returns ids with the whole prompt in front, as ever; logits, hidden states and caches have the shortened
    length. A cache filled inside the context cannot be continued outside, nor by another call of `generate`.

    Parameters
    ----------
    model
        A loaded model, or a bare Hugging Face model of a supported family.
    pruner
        Which tokens stay, or the name of one in `PRUNERS`.
    keep
        How many visual tokens of each image stay, in [1, n].
    position_ids
        "keep": every token keeps its id. "compact": ids are consecutive, as if the others had never been there. Which
        one a method uses is part of the method; the difference is not a detail.
    seed
        For pruners that draw.
    needed
        For the oracle: per prompt of the batch, the tokens that its answer needs.

    Raises
    ------
    ValueError
        On entering: for a `keep` outside [1, n] or a family that is not supported. On a call inside: for prompts
        without exactly one image, image features that are not finite, `labels`, `inputs_embeds`, static caches, or a
        cache that `generate` filled before and counts by its shortened length.
    KeyError
        For an unknown pruner or policy; the nearest name is suggested.
    TypeError
        For a `pruner` that is none.
    RuntimeError
        If the model is being pruned already.

    Examples
    --------
    >>> with prune(vlm, VisPruner(), keep=64):  # doctest: +SKIP
    ...     vlm.answer(image, "what number is on the red sign ?")
    """
    stock = model.model if isinstance(model, Vlm) else model
    adapter = model.adapter if isinstance(model, Vlm) else adapter_for(stock)
    chosen = as_pruner(pruner)
    tokens = adapter.tokens(stock)
    truth = _checked_needed(chosen, needed, tokens)
    hooks = PruningHooks(
        stock,
        adapter,
        chosen,
        checked_keep(keep, tokens),
        policy=checked_policy(position_ids),
        seed=seed,
        needed=truth,
    )
    base = stock.base_model
    if base in _PRUNED:
        raise RuntimeError("this model is being pruned already: `prune` contexts must not be nested")
    _PRUNED.add(base)
    try:
        with hooks.attached():
            yield
    finally:
        _PRUNED.discard(base)


def _checked_needed(
    pruner: AbstractPruner, needed: Sequence[npt.ArrayLike] | None, tokens: int
) -> list[IntArray] | None:
    if "needed" in pruner.needs and (needed is None or not len(needed)):
        raise ValueError(f"pruner {pruner.name!r} needs `needed`: per prompt the tokens that its answer needs")
    return None if needed is None else [token_indices(entry, tokens) for entry in needed]
