"""`prune`: inside this context the language model sees the kept visual tokens only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy.typing as npt
from transformers import PreTrainedModel

from analysis.models import AbstractAdapter, Vlm, adapter_for
from solvers.arrays import IntArray

from .active import only_one
from .arguments import whole_prompts
from .cross_attention import CrossAttentionHooks
from .hooks import PruningHooks
from .inputs import PositionPolicy, checked_policy
from .inside.hooks import InsideHooks
from .inside.stage import AbstractInnerPruner
from .log import PruningLog
from .pruner import AbstractPruner, Keep, budget_of, checked_keep
from .pruners import as_pruner
from .selection import Selector, checked_separators, checked_tiles
from .tokens import token_indices


@contextmanager
def prune(
    model: Vlm | PreTrainedModel,
    pruner: AbstractPruner | Callable[..., npt.ArrayLike] | str,
    keep: Keep,
    *,
    position_ids: str | None = None,
    separators: str = "drop",
    tiles: str = "each",
    seed: int = 0,
    needed: Sequence[npt.ArrayLike] | None = None,
) -> Iterator[PruningLog]:
    """Prune: `forward` and `generate` of the stock model see the kept visual tokens only.

    Text is never dropped. Batches with left padding, several images or none in a prompt, beams, several samples per
    prompt and runs without cache work. Keeping all tokens leaves the computation as it is, to the bit. Afterwards, also
    after an exception, the model is as it was.

    A pruner that works inside the language model can be put inside (or around) one that works ahead of it; its budget
    then counts what the other has left. What it takes for the last token of a prompt is the first one whose logits are
    asked for, if `logits_to_keep` asks for several: answers to be scored, guesses of assisted decoding come after it.

    `generate` returns ids with the whole prompt in front, as ever; logits, hidden states and caches have the shortened
    length. A cache filled inside the context cannot be continued outside, nor by another call of `generate`.

    Where visual tokens stand beside the prompt (Mllama), the text keeps its length, only layers that attend to images
    hold less, and all prompts of a batch need an image. `labels` work there.

    Parameters
    ----------
    model
        A loaded model, or a bare Hugging Face model of a supported family.
    pruner
        Which tokens stay: a pruner, the name of one in `PRUNERS`, or a function of your own that takes fields of
        `VisualTokens` by their names, and `keep`.
    keep
        How many visual tokens of each image stay, in [1, n]; or a share of them in (0, 1), for images that differ in
        size. All tiles of an image together, newlines not counted; of each tile where the model itself knows of tiles
        only (InternVL, Idefics3, SmolVLM, crops of Gemma 3). Inside the language model the images of a prompt
        share the sum of their budgets, newlines are tokens like others, and what the number counts is the pruner's own:
        tokens in the last layers, or the mean over all.
    position_ids
        "keep": every token keeps its id. "compact": ids are consecutive, as if the others had never been there. Which
        one a method uses is part of the method, and the difference is not a detail: None takes the method's own
        (`pruner.position_ids`). Where a token has several ids (Qwen) or none (Mllama), compact ones are not defined and
        None is "keep".
    separators
        "drop" or "keep" placeholders that show nothing, such as the newlines of LLaVA-NeXT, or the CLS tokens and the
        padding of Mllama; see `SeparatorPolicy`.
    tiles
        "each": the tiles of an image share the budget and are pruned one by one. "together": as one picture.
    seed
        For pruners that draw.
    needed
        For the oracle: per prompt of the batch, the tokens that its answer needs.

    Yields
    ------
    PruningLog
        What was kept of the latest prompts, and how many visual tokens reached each layer.

    Raises
    ------
    ValueError
        On entering: for a `keep` outside [1, n], a family that is not supported, or "compact" where it is not defined.
        On a call inside: for a `keep` that an image is too small for, image features that are not finite, `labels`,
        `inputs_embeds`, static caches, packed sequences, prompts in chunks, or a cache that `generate` filled before
        and counts by its shortened length.
    KeyError
        For an unknown pruner or policy; the nearest name is suggested.
    TypeError
        For a `pruner` that is none.
    RuntimeError
        If the model is being pruned already.

    Examples
    --------
    >>> with prune(vlm, VisPruner(), keep=64) as log:  # doctest: +SKIP
    ...     vlm.answer(image, "what number is on the red sign ?")
    >>> log.average  # doctest: +SKIP
    array([64.])
    """
    stock = model.model if isinstance(model, Vlm) else model
    adapter = model.adapter if isinstance(model, Vlm) else adapter_for(stock)
    chosen = as_pruner(pruner)
    policy = own_policy(adapter, chosen, position_ids)
    log = PruningLog(layers=len(adapter.text_layers(stock)), position_ids=policy)
    if isinstance(chosen, AbstractInnerPruner):
        if adapter.cross_attention:
            raise ValueError(
                f"pruner {chosen.name!r} works on visual tokens between the words of a prompt, which the "
                f"{stock.config.model_type!r} family keeps beside it: use one that works before the language model"
            )
        chosen.checked_needs()
        inside = InsideHooks(stock, adapter, chosen, _checked_keep(stock, adapter, keep), policy=policy, log=log)
        with only_one(stock.base_model, "inside", inside), whole_prompts(stock, adapter), inside.attached():
            yield log
        return
    selector = Selector(
        chosen,
        _checked_keep(stock, adapter, keep),
        separators=checked_separators(separators),
        tiles=checked_tiles(tiles),
        reorder=policy == "compact",
        project=(lambda rows: adapter.project(stock, rows)) if adapter.projects_tokens else None,
    )
    truth = _checked_needed(chosen, needed, adapter, stock)
    kind = CrossAttentionHooks if adapter.cross_attention else PruningHooks
    hooks = kind(stock, adapter, selector, policy=policy, seed=seed, needed=truth, log=log)
    with only_one(stock.base_model, "before", hooks), whole_prompts(stock, adapter), hooks.attached():
        yield log


def own_policy(adapter: AbstractAdapter, pruner: AbstractPruner, position_ids: str | None) -> PositionPolicy:
    """The policy asked for or, if None, the method's own where the family has it.

    Raises
    ------
    KeyError
        If `position_ids` names none; the nearest is suggested.
    ValueError
        If it is "compact" where tokens have several ids, or none.
    """
    single = adapter.position_axes == 1
    if position_ids is None:
        return checked_policy(pruner.position_ids) if single else "keep"
    policy = checked_policy(position_ids)
    if policy == "compact" and not single:
        have = "ids of time, row and column" if adapter.position_axes else "no ids"
        raise ValueError(f"`position_ids` must be 'keep' for a family whose tokens have {have}, got 'compact'")
    return policy


def _checked_keep(model: PreTrainedModel, adapter: AbstractAdapter, keep: Keep) -> Keep:
    """`keep`, checked now if every image has the same number of tokens."""
    if adapter.fixed_grid and not (isinstance(keep, float) and 0 < keep < 1):
        return checked_keep(keep, adapter.tokens(model))
    budget_of(keep, 2**31, 0)
    return keep


def _checked_needed(
    pruner: AbstractPruner,
    needed: Sequence[npt.ArrayLike] | None,
    adapter: AbstractAdapter,
    model: PreTrainedModel,
) -> list[IntArray] | None:
    if "needed" in pruner.needs and (needed is None or not len(needed)):
        raise ValueError(f"pruner {pruner.name!r} needs `needed`: per prompt the tokens that its answer needs")
    if needed is None:
        return None
    tokens = adapter.tokens(model) if adapter.fixed_grid else 2**31
    return [token_indices(entry, tokens) for entry in needed]
