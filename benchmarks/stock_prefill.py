"""A prompt through the stock layers with fewer visual tokens: what pruning would leave if it took no time itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from analysis.models import Vlm


@torch.no_grad()
def stock_prefill(vlm: Vlm, inputs: Mapping[str, Tensor], per_layer: Sequence[int]) -> Tensor:
    """Logits of the last token [vocabulary], with `per_layer` visual tokens in each layer: always the first ones.

    Encoder and projector see everything. No hook and no evidence: the layers of a LLaMA one after the other, the
    sequence cut where the number falls. Position ids stay.

    Parameters
    ----------
    vlm
        A LLaVA.
    inputs
        Of one prompt without padding, as `vlm.prepare` makes them.
    per_layer
        Visual tokens in each layer of the language model, never growing.

    Raises
    ------
    ValueError
        If there is more than one prompt, or not one number per layer.
    """
    model: Any = vlm.model
    language: Any = vlm.adapter.language_model(vlm.model)
    ids = inputs["input_ids"]
    if len(ids) != 1 or len(per_layer) != len(language.layers):
        raise ValueError(
            f"one prompt and a number for each of {len(language.layers)} layers are needed, got {len(ids)} and "
            f"{len(per_layer)}"
        )
    image = ids[0] == vlm.adapter.image_token_id(vlm.model)
    rows = model.base_model.get_image_features(pixel_values=inputs["pixel_values"], return_dict=True).pooler_output
    states = language.get_input_embeddings()(ids)
    states[0, image] = rows[0]
    positions = torch.arange(ids.shape[1])[None]
    rotary = language.rotary_emb(states, positions)
    for layer, count in zip(language.layers, per_layer, strict=True):
        if count < int(image.sum()):
            stay = ~image | (image.cumsum(0) <= count)
            states, positions, image = states[:, stay], positions[:, stay], image[stay]
            rotary = language.rotary_emb(states, positions)
        states = layer(states, position_ids=positions, position_embeddings=rotary, use_cache=False)
    logits: Tensor = model.lm_head(language.norm(states[:, -1:]))[0, -1]
    return logits
