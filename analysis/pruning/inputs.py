"""Shortened inputs of the language model: embeddings, position ids and mask once only the kept visual tokens are left.

`prune` uses `shorten` on the batch that the stock model has merged; whoever runs the language model without the stock
wrapper builds the same inputs with `assemble`, which calls `shorten` too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy.typing as npt
import torch
from torch import Tensor, nn

from solvers.arrays import IntArray
from solvers.names import nearest

PositionPolicy = Literal["keep", "compact"]
"""How the ids that the rotary embedding sees are given after pruning.

"keep"
    Every token keeps its original id: gaps where tokens were dropped (FastV, for example).
"compact"
    The ids are consecutive, as if the dropped tokens had never been there (what VisPruner and FasterVLM do).
"""


@dataclass(frozen=True)
class Shortened:
    """A batch after pruning, packed to the right: padding, if any, comes first in a row.

    Attributes
    ----------
    embeds
        [prompt, position, hidden].
    position_ids
        int64 [prompt, position], with an axis in front if there was one (time, row and column of Qwen).
    mask
        bool [prompt, position], False on padding.
    columns
        int64 [prompt, position], the column each position had before.
    removed
        int64 [prompt], how many tokens each prompt lost.
    """

    embeds: Tensor
    position_ids: Tensor
    mask: Tensor
    columns: Tensor
    removed: Tensor


def checked_policy(position_ids: str) -> PositionPolicy:
    """`position_ids`, if it names a policy.

    Raises
    ------
    KeyError
        Otherwise, with the nearest name suggested.
    """
    return nearest(position_ids, get_args(PositionPolicy), "position_ids policy")  # type: ignore[return-value]


def image_columns(image_mask: Tensor, tokens: int) -> Tensor:
    """Columns of the visual tokens [prompt, token] from the placeholder mask [prompt, column].

    Raises
    ------
    ValueError
        If a prompt does not hold exactly one image: `tokens` placeholders.
    """
    counts = image_mask.sum(1)
    wrong = (counts != tokens).nonzero()
    if len(wrong):
        row = int(wrong[0, 0])
        raise ValueError(
            f"every prompt must hold exactly one image of {tokens} visual tokens, got {int(counts[row])} placeholders "
            f"in prompt {row}"
        )
    return image_mask.nonzero()[:, 1].reshape(len(image_mask), tokens)


def shorten(
    embeds: Tensor,
    image_mask: Tensor,
    kept: Sequence[IntArray],
    *,
    policy: PositionPolicy,
    mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    merged: Sequence[Tensor | None] | None = None,
) -> Shortened:
    """Drop the visual tokens that are not kept; text always stays.

    Parameters
    ----------
    embeds
        Merged embeddings [prompt, column, hidden].
    image_mask
        bool [prompt, column], True at the visual tokens, of all images of a prompt.
    kept
        For each prompt the kept visual tokens, ascending indices into all that it has.
    policy
        "keep" or "compact", see `PositionPolicy`.
    mask
        bool [prompt, column], False on padding; None means that there is none.
    position_ids
        Ids before pruning [prompt or 1, column]; None means 0, 1, 2, ... in every row, padding included, as the stock
        language model counts them. With several ids per token [axis, prompt or 1, column], which "keep" alone can do.
    merged
        For each prompt what stands in place of the kept tokens [kept, hidden], or None for the tokens themselves.
    """
    device = embeds.device
    valid = torch.ones_like(image_mask) if mask is None else mask
    stay = valid & ~image_mask
    for row, (columns, tokens) in enumerate(zip(_columns_of_rows(image_mask), kept, strict=True)):
        stay[row, columns[torch.as_tensor(tokens, device=device)]] = True
    if merged is not None and any(rows is not None for rows in merged):
        embeds = _with_merged(embeds, image_mask & stay, merged)
    columns, shown = right_packed(stay)
    if position_ids is None:
        position_ids = torch.arange(image_mask.shape[1], device=device)[None]
    new = take(position_ids, columns, position_ids.ndim - 1)
    if policy == "compact":
        first = take(position_ids, valid.to(torch.int8).argmax(1, keepdim=True), position_ids.ndim - 1)
        new = (shown.long().cumsum(1) - 1 + first).masked_fill(~shown, 0)
    return Shortened(
        embeds=take(embeds, columns, 1),
        position_ids=new,
        mask=shown,
        columns=columns,
        removed=(valid & ~stay).sum(1),
    )


def _with_merged(embeds: Tensor, kept: Tensor, merged: Sequence[Tensor | None]) -> Tensor:
    """`embeds` with merged rows at the kept visual columns [prompt, column]."""
    changed = embeds.clone()
    for row, content in enumerate(merged):
        if content is not None:
            changed[row, kept[row]] = content.to(changed)
    return changed


def right_packed(stay: Tensor) -> tuple[Tensor, Tensor]:
    """Columns of what stays [prompt, position], packed to the right in their order, and which of them are no padding.

    `stay` is bool [prompt, column]. The last real token of every row stays last.
    """
    # A stable sort moves what goes to the front and keeps the order of what stays.
    longest = int(stay.sum(1).max())
    columns = stay.to(torch.int8).argsort(dim=1, stable=True)[:, stay.shape[1] - longest :]
    return columns, stay.gather(1, columns)


def take(array: Tensor, columns: Tensor, axis: int) -> Tensor:
    """`array` at `columns` [prompt, position] along `axis`; the axis before it counts prompts, or has length 1."""
    before = list(array.shape[:axis])
    before[-1] = len(columns)
    shape = [1] * (axis - 1) + list(columns.shape) + [1] * (array.ndim - axis - 1)
    after = list(array.shape[axis + 1 :])
    index = columns.reshape(shape).expand(*before, columns.shape[1], *after)
    return array.expand(*before, *array.shape[axis:]).gather(axis, index)


def take_mask(mask: Tensor | None, columns: Tensor, shown: Tensor, *, queries: bool = True) -> Tensor | None:
    """A mask [prompt or 1, head or 1, query, key] at `columns` [prompt, position]; None stays None.

    Keys are taken always, queries if there are several and `queries` asks for it; padding (not `shown`) is switched
    off: False in a boolean mask, the lowest number in an additive one.
    """
    if mask is None:
        return None
    mask = mask.expand(len(columns), -1, -1, -1)
    if queries and mask.shape[2] > 1:
        mask = mask.gather(2, columns[:, None, :, None].expand(-1, mask.shape[1], -1, mask.shape[3]))
    mask = mask.gather(3, columns[:, None, None, :].expand(-1, mask.shape[1], mask.shape[2], -1))
    visible = shown[:, None, None, :]
    return mask & visible if mask.dtype == torch.bool else mask.masked_fill(~visible, torch.finfo(mask.dtype).min)


def causal_mask(shown: Tensor, dtype: torch.dtype, implementation: str | None, *, both_ways: bool = False) -> Tensor:
    """The plain mask of a right-packed batch [prompt, 1, query, key]: additive if eager, boolean otherwise.

    Causal; or, `both_ways`, hiding nothing but padding.
    """
    length = shown.shape[1]
    past = torch.ones(length, length, dtype=torch.bool, device=shown.device)
    visible = (past if both_ways else past.tril())[None, None] & shown[:, None, None, :]
    if implementation != "eager":
        return visible
    return torch.zeros(visible.shape, dtype=dtype, device=shown.device).masked_fill(~visible, torch.finfo(dtype).min)


def _columns_of_rows(image_mask: Tensor) -> list[Tensor]:
    return [row.nonzero()[:, 0] for row in image_mask]


def split_prompt(ids: Tensor, image_token_id: int, tokens: int) -> tuple[Tensor, Tensor]:
    """Token ids before and after the image, from the ids of one prompt without padding [column].

    Raises
    ------
    ValueError
        If the prompt does not hold exactly one image, in one piece.
    """
    columns = image_columns(ids[None] == image_token_id, tokens)[0]
    start = int(columns[0])
    if int(columns[-1]) - start != tokens - 1:
        raise ValueError("the visual tokens of an image must stand side by side, got text between them")
    return ids[:start], ids[start + tokens :]


def assemble(
    embedding: nn.Module,
    before: Tensor,
    projected: Tensor,
    after: Tensor,
    kept: npt.ArrayLike,
    policy: PositionPolicy = "keep",
) -> Shortened:
    """Pruned input of the language model for one prompt, as a batch of one.

    Parameters
    ----------
    embedding
        Input embedding of the language model: `vlm.adapter.embedding(vlm.model)`.
    before, after
        Token ids before and after the image [word]; `after` may be empty, which gives the prefix that all questions
        about the image share.
    projected
        All visual tokens in the embedding space [token, hidden]: `encode_images(...).projected[i]`.
    kept
        Kept visual tokens, ascending indices [keep].
    policy
        "keep" or "compact", see `PositionPolicy`.
    """
    words: tuple[Any, Any] = embedding(before), embedding(after)
    embeds = torch.cat([words[0], projected.to(words[0].dtype), words[1]])[None]
    image_mask = torch.zeros(embeds.shape[:2], dtype=torch.bool, device=embeds.device)
    image_mask[:, len(before) : len(before) + len(projected)] = True
    return shorten(embeds, image_mask, [kept], policy=policy)  # type: ignore[list-item]  # any integer array will do


def first_position_after(before: int, tokens: int, kept: int, policy: PositionPolicy) -> int:
    """Position id of the first word after the image: `before` words, `tokens` visual tokens of which `kept` stay."""
    return before + (tokens if policy == "keep" else kept)


def question_mask(input_ids: Tensor, image_token_id: int, mask: Tensor | None = None) -> Tensor:
    """Which columns count as the question [prompt, column], bool.

    The words after the image: what was asked, and what the template puts behind it. If a prompt has nothing there, the
    words before the image. A rule that needs the question sees the mean or every word, so the few words of the template
    shift all prompts alike.
    """
    image = input_ids == image_token_id
    text = ~image if mask is None else mask & ~image
    after = text & (image.flip(1).cumsum(1).flip(1) == 0)
    return torch.where(after.any(1, keepdim=True), after, text)
