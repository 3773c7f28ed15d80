"""A step of decoding behind prompts that were shortened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..arguments import Options
from .packing import step_mask
from .side import Shorter, Side


class StepPass:
    """Tokens that follow prompts which were shortened.

    Parameters
    ----------
    side
        The model.
    shorter
        What the prefill did.
    length
        Columns of the prompts in the first layer.
    mask
        bool [prompt, column] up to the newest token, False on padding; or None.
    """

    def __init__(self, side: Side, shorter: Sequence[Shorter], length: int, mask: Tensor | None) -> None:
        self._side, self._shorter, self._length, self._mask = side, shorter, length, mask
        self._memo: dict[tuple[Any, ...], Any] = {}

    def before_layer(
        self, index: int, layer: nn.Module, args: tuple[Any, ...], options: Options
    ) -> tuple[tuple[Any, ...], Options] | None:
        """Arguments of the layer, or None to leave them.

        Raises
        ------
        ValueError
            If the layers of the cache have got out of step.
        """
        prompt = next((entry for entry in reversed(self._shorter) if entry.layer <= index), None)
        if prompt is None:
            return None
        states: Tensor = args[0] if args else options["hidden_states"]
        cache, steps = options["past_key_values"], states.shape[1]
        keys = cache.get_seq_length(index) + steps
        new = keys - prompt.shown.shape[1]
        if new != cache.get_seq_length(0) - self._length:  # the first layer has taken the newest tokens in already
            raise ValueError(
                f"all layers of the cache must hold the same tokens behind the prompt, got {new} in layer {index} and "
                f"{cache.get_seq_length(0) - self._length} in the first: it was cropped to one length for all"
            )
        window = getattr(layer.self_attn, "sliding_window", None) or getattr(
            cache.layers[index], "sliding_window", None
        )
        length = int(cache.get_mask_sizes(steps, index)[0])
        key = (prompt.layer, window, length)
        if key not in self._memo:
            shown = torch.cat([prompt.shown, self._tail(prompt.shown, new)], 1)
            self._memo[key] = step_mask(
                shown,
                steps,
                window=window,
                length=length,
                dtype=states.dtype,
                implementation=self._side.implementation,
            )
        changed: Options = {"attention_mask": self._memo[key]}
        if prompt.shift is not None:
            ids = options["position_ids"] - prompt.shift[:, None]
            changed |= {"position_ids": ids, "position_embeddings": self._side.rotary(layer, states, ids)}
        return args, options | changed

    def _tail(self, shown: Tensor, new: int) -> Tensor:
        """Which of the tokens behind the prompt are no padding [prompt, key]."""
        if self._mask is None:
            return shown.new_ones(len(shown), new)
        return self._mask[:, self._mask.shape[1] - new :].bool()
