"""The language model run by hand on what is left of a prompt, from the inputs that the stock model gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from analysis.models import adapter_for

from .families import IMAGE, Arguments


def language_model_inputs(model: PreTrainedModel, batch: Arguments) -> Arguments:
    """What the stock model hands to its language model."""
    seen: Arguments = {}
    hook = (
        adapter_for(model)
        .language_model(model)
        .register_forward_pre_hook(lambda _, args, options: seen.update(options), with_kwargs=True)
    )
    try:
        model(**batch)
    finally:
        hook.remove()
    return seen


def columns_left(batch: Arguments, places: np.ndarray) -> Tensor:
    """Columns of the only prompt that stay if of all its visual tokens `places` do."""
    image = batch["input_ids"][0] == IMAGE
    stay = ~image
    stay[image.nonzero()[:, 0][places]] = True
    return stay.nonzero()[:, 0]


def map_mask(mask: Any, change: Callable[[Tensor], Any], otherwise: Any) -> Any:
    """`change` of a ready-made mask, or of each one in a dictionary; `otherwise` for a mask per column, or none."""
    if isinstance(mask, Mapping):
        return {kind: map_mask(one, change, otherwise) for kind, one in mask.items()}
    return change(mask) if isinstance(mask, Tensor) and mask.ndim == 4 else otherwise


def positions_of(inputs: Arguments, length: int) -> Tensor:
    given = inputs.get("position_ids")
    return torch.arange(length)[None] if given is None else given


def deepstack_of(inputs: Arguments, columns: Tensor) -> Arguments:
    """Visual features that are added again inside the language model, for these columns."""
    where = inputs.get("visual_pos_masks")
    if where is None:
        return {}
    left = torch.isin(where[0].nonzero()[:, 0], columns)
    levels = [level[left] for level in inputs["deepstack_visual_embeds"]]
    return {"visual_pos_masks": where[:, columns], "deepstack_visual_embeds": levels}


def by_hand(model: PreTrainedModel, batch: Arguments, places: np.ndarray, policy: str) -> Tensor:
    """Logits [word, vocabulary] of one prompt of which the visual tokens `places` are left, written out apart."""
    inputs, columns = language_model_inputs(model, batch), columns_left(batch, places)
    ids = positions_of(inputs, batch["input_ids"].shape[1])
    compact = ids[..., :1] + torch.arange(len(columns))
    ones = None if adapter_for(model).mask_from_outside else torch.ones(1, len(columns), dtype=torch.long)
    hidden = adapter_for(model).language_model(model)(
        inputs_embeds=inputs["inputs_embeds"][:, columns],
        attention_mask=map_mask(inputs.get("attention_mask"), lambda mask: mask[:, :, columns][..., columns], ones),
        position_ids=ids[..., columns] if policy == "keep" else compact,
        use_cache=False,
        **deepstack_of(inputs, columns),
    )
    return model.get_output_embeddings()(hidden.last_hidden_state)[0]


def masked_instead(model: PreTrainedModel, batch: Arguments, places: np.ndarray) -> Tensor:
    """Logits [word, vocabulary] if the other visual tokens stay in their place, but nobody sees them."""
    inputs, columns = language_model_inputs(model, batch), columns_left(batch, places)
    length = batch["input_ids"].shape[1]
    gone = torch.ones(length, dtype=torch.bool)
    gone[columns] = False
    lowest = torch.finfo(torch.float32).min
    causal = torch.ones(length, length, dtype=torch.bool).triu(1)

    def without(mask: Tensor) -> Tensor:
        hidden = ~mask if mask.dtype == torch.bool else mask < 0
        return torch.zeros(hidden.shape).masked_fill(hidden | gone, lowest)

    plain = without(~causal[None, None])
    hidden = adapter_for(model).language_model(model)(
        inputs_embeds=inputs["inputs_embeds"],
        attention_mask=map_mask(inputs.get("attention_mask"), without, plain),
        position_ids=positions_of(inputs, length),
        use_cache=False,
        **{name: inputs[name] for name in ("visual_pos_masks", "deepstack_visual_embeds") if name in inputs},
    )
    return model.get_output_embeddings()(hidden.last_hidden_state)[0, columns]
