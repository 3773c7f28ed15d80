"""Which columns of a batch are left inside the language model, and the masks that belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from solvers.arrays import IntArray

from ..inputs import take, take_mask


@dataclass(frozen=True, eq=False)
class Choice:
    """What one prompt keeps at a stage.

    Attributes
    ----------
    kept
        Visual tokens that stay, ascending int64.
    clusters
        Cluster of each visual token that does not, int64, -1 for none; or None: nothing is merged.
    """

    kept: IntArray
    clusters: IntArray | None = None


@dataclass(frozen=True, eq=False)
class Packing:
    """A batch between two layers, packed to the right. Columns count in the input of the first layer.

    Attributes
    ----------
    sources
        int64 [prompt, position], the column that each state came from; of a merged one, that of the first token of its
        cluster. Position ids go with the states.
    columns
        int64 [prompt, position], ascending in a row: the column whose part of the mask a state has. A merged state has
        that of the last visual token.
    shown
        bool [prompt, position], False on padding.
    visual
        bool [prompt, position], True at visual tokens, merged ones among them.
    merged
        bool [prompt, position], True at those that stand for a cluster.
    """

    sources: Tensor
    columns: Tensor
    shown: Tensor
    visual: Tensor
    merged: Tensor

    @classmethod
    def whole(cls, image: Tensor, valid: Tensor) -> Packing:
        """Every column of `image` [prompt, column], True at the visual tokens; `valid` is False on padding."""
        columns = torch.arange(image.shape[1], device=image.device).expand(image.shape)
        return cls(columns, columns, valid, image & valid, torch.zeros_like(image))

    def places(self, row: int) -> Tensor:
        """Positions of the visual tokens of a prompt, int64 [token]."""
        return self.visual[row].nonzero()[:, 0]

    def shortened(self, states: Tensor, chosen: Sequence[Choice | None]) -> tuple[Tensor, Packing]:
        """The states [prompt, position, dim] that stay, merged ones behind the visual tokens; and where they are.

        `chosen` has an entry per prompt; None keeps everything.
        """
        rows = [self._of_row(row, states[row], choice) for row, choice in enumerate(chosen)]
        longest = max(len(own.sources) for _, own in rows)
        padded = [(_left_padded(content, longest), own.left_padded(longest)) for content, own in rows]
        fields = ("sources", "columns", "shown", "visual", "merged")
        stacked = {name: torch.stack([getattr(own, name) for _, own in padded]) for name in fields}
        return torch.stack([content for content, _ in padded]), Packing(**stacked)

    def _of_row(self, row: int, states: Tensor, choice: Choice | None) -> tuple[Tensor, Packing]:
        """One prompt, without padding."""
        own = Packing(self.sources[row], self.columns[row], self.shown[row], self.visual[row], self.merged[row])
        places, stay = self.places(row), own.shown.clone()
        if choice is not None:
            stay &= ~own.visual
            stay[places[_on(choice.kept, places)]] = True
        left = stay.nonzero()[:, 0]
        if choice is None or choice.clusters is None:
            return states[left], own._at(left)
        behind = int((left <= places[-1]).sum())
        dropped = places[_on(_others(choice.kept, len(places)), places)]
        means, first = _cluster_means(states[dropped], _on(choice.clusters, places))
        extra = own._at(dropped[first])
        extra = replace(extra, columns=own.columns[places[-1]].expand(len(means)), merged=torch.ones_like(extra.merged))
        parts = [own._at(left[:behind]), extra, own._at(left[behind:])]
        joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in vars(own)}
        return torch.cat([states[left[:behind]], means, states[left[behind:]]]), Packing(**joined)

    def _at(self, index: Tensor) -> Packing:
        """Some positions of one prompt."""
        return Packing(**{name: array[index] for name, array in vars(self).items()})

    def left_padded(self, length: int) -> Packing:
        """One prompt with padding in front; padding takes the first column, whose states are there."""
        return Packing(**{name: _left_padded(array, length) for name, array in vars(self).items()})


def prefill_mask(mask: Any, packing: Packing, dtype: torch.dtype, implementation: str | None, *, causal: bool) -> Any:
    """The mask of a layer that runs on a packed prompt, from the one that it was to get.

    Parameters
    ----------
    mask
        [prompt or 1, head or 1, query, key], boolean or additive; [prompt, key] for padding only; or None for a plain
        causal one.
    packing
        What is left of the prompts.
    dtype, implementation
        Of the states, and of the attention: they say what form a mask takes.
    causal
        Whether merged tokens see no later one; else what the mask says of the last visual token holds for all of them.

    Raises
    ------
    ValueError
        If the mask is no tensor, as that of flex attention.
    """
    if mask is not None and not isinstance(mask, Tensor):
        raise ValueError(f"attention masks must be tensors while pruning inside the model, got {type(mask).__name__}")
    if _is_flash(implementation):  # an explicit mask always: gaps in the ids alone would be read as packed sequences
        shown = packing.shown if mask is None else take(mask.bool(), packing.columns, 1) & packing.shown
        return shown.to(torch.long if mask is None else mask.dtype)
    if mask is None:
        if bool(packing.shown.all()):
            return None
        return in_form(visible_keys(packing.shown, packing.shown.shape[1]), dtype, implementation)
    taken = take_mask(mask, packing.columns, packing.shown)
    if causal and taken is not None and bool(packing.merged.any()):
        past = visible_keys(torch.ones_like(packing.shown), packing.shown.shape[1])
        return taken & past if taken.dtype == torch.bool else taken.masked_fill(~past, torch.finfo(taken.dtype).min)
    return taken


def visible_keys(shown: Tensor, steps: int, window: int | None = None) -> Tensor:
    """Which keys the last `steps` of them see, bool [prompt, 1, query, key]: none later, none hidden, `window` at most.

    `shown` is bool [prompt, key], False on padding.
    """
    keys = torch.arange(shown.shape[1], device=shown.device)
    queries = keys[len(keys) - steps :, None]
    seen = keys <= queries
    if window is not None:
        seen &= keys > queries - window
    return seen[None, None] & shown[:, None, None, :]


def step_mask(
    shown: Tensor, steps: int, *, window: int | None, length: int, dtype: torch.dtype, implementation: str | None
) -> Tensor | None:
    """The mask of a decoding step [prompt, 1, query, key], or [prompt, key] for flash attention; None if all is seen.

    Parameters
    ----------
    shown
        bool [prompt, key], all keys that the layer has ever seen; False on padding.
    steps
        How many of them, the last ones, are queries.
    window
        Width of a sliding window, or None.
    length
        How many keys, the last ones, the cache hands out.
    dtype, implementation
        As in `prefill_mask`.
    """
    outside = window is not None and shown.shape[1] > window
    if steps == 1 and not outside and bool(shown.all()):
        return None
    if _is_flash(implementation):
        return shown[:, -length:].long()
    return in_form(visible_keys(shown, steps, window)[..., -length:], dtype, implementation)


def in_form(visible: Tensor, dtype: torch.dtype, implementation: str | None) -> Tensor:
    """A boolean mask, additive if attention is eager."""
    if implementation != "eager":
        return visible
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill(~visible, torch.finfo(dtype).min)


def _is_flash(implementation: str | None) -> bool:
    return implementation is not None and "flash" in implementation


def _on(index: IntArray, like: Tensor) -> Tensor:
    return torch.as_tensor(index, device=like.device)


def _others(kept: IntArray, count: int) -> IntArray:
    """The indices below `count` that are not among `kept`."""
    stays = torch.zeros(count, dtype=torch.bool)
    stays[torch.as_tensor(kept)] = True
    others: IntArray = (~stays).nonzero()[:, 0].numpy()
    return others


def _left_padded(array: Tensor, length: int) -> Tensor:
    missing = length - len(array)
    if not missing:
        return array
    front = array.new_zeros((missing, *array.shape[1:]))
    return torch.cat([front, array])


def _cluster_means(states: Tensor, clusters: Tensor) -> tuple[Tensor, Tensor]:
    """Mean state of each cluster [cluster, dim], and the index of its first member [cluster]."""
    members = [(clusters == cluster).nonzero()[:, 0] for cluster in range(int(clusters.max()) + 1)]
    means = torch.stack([states[own].float().mean(0) for own in members]).to(states.dtype)
    return means, torch.stack([own[0] for own in members])
