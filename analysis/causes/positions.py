"""Position against content: the visual tokens at other position ids, in a whole forward pass.

A token's attention may depend on what it shows or on where it stands. Giving the visual tokens one id ("equi"), or
their ids in another order, leaves the content alone; what then changes is owed to position.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analysis.models import Vlm
from analysis.pruning.inputs import image_columns
from solvers.names import nearest

ARRANGEMENTS = ("true", "equi", "reversed", "shuffled", "unrotated")
"""Position ids that `arranged` knows."""


def arranged(position_ids: Tensor, first: Tensor | int, tokens: int, arrangement: str, *, seed: int = 0) -> Tensor:
    """Position ids with those of the visual tokens arranged anew, int64 [prompt, column].

    "true"
        As they are.
    "equi"
        Every visual token has the id of the first, and what follows the image moves up: id - tokens + 1. The criterion
        of VisPruner's second version (anonymous-4869/VisPruner@d01c757, which writes it for 576 tokens from id 35).
    "reversed"
        The last visual token has the first id, and so on; text keeps its ids.
    "shuffled"
        The ids of the visual tokens in a random order, the same for all prompts; text keeps its ids.
    "unrotated"
        Every token at id 0: no rotary embedding at all (the criterion of FEATHER, as `FastV without RoPE`).

    Parameters
    ----------
    position_ids
        Ids before [prompt, column], as if no token were missing: ids of dropped tokens are skipped.
    first
        Id of the first visual token, a number or [prompt, 1].
    tokens
        Number of visual tokens of the whole image.
    arrangement
        One of `ARRANGEMENTS`.
    seed
        Of "shuffled".

    Raises
    ------
    KeyError
        For an unknown arrangement; the nearest is suggested.

    Examples
    --------
    >>> arranged(torch.arange(6), 2, 3, "equi").tolist()
    [0, 1, 2, 2, 2, 3]
    >>> arranged(torch.arange(6), 2, 3, "reversed").tolist()
    [0, 1, 4, 3, 2, 5]
    """
    nearest(arrangement, ARRANGEMENTS, "arrangement")
    if arrangement == "true":
        return position_ids
    if arrangement == "unrotated":
        return torch.zeros_like(position_ids)
    index = position_ids - first
    visual = (index >= 0) & (index < tokens)
    if arrangement == "equi":
        behind = torch.where(index >= tokens, position_ids - tokens + 1, position_ids)
        return torch.where(visual, position_ids - index, behind)
    order = np.arange(tokens)[::-1] if arrangement == "reversed" else np.random.default_rng(seed).permutation(tokens)
    at = torch.from_numpy(order.copy()).to(position_ids.device)[index.clamp(0, tokens - 1)]
    return torch.where(visual, position_ids - index + at, position_ids)


class VisualStart:
    """The column of the first visual token in each prompt of the forward pass that runs.

    Parameters
    ----------
    vlm
        The model.
    start
        The column, for those who run the language model themselves; None reads it off the prompts that the whole model
        receives.
    """

    def __init__(self, vlm: Vlm, start: int | None) -> None:
        self._model, self._adapter = vlm.model, vlm.adapter
        self.tokens = vlm.adapter.tokens(vlm.model)
        self._fixed = start
        self.columns: Tensor | None = None if start is None else torch.tensor([[start]], device=vlm.device)
        self.in_prompt = False

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Prompts are read inside."""
        if self._fixed is not None:
            yield
            return
        base: Any = self._model.base_model
        hook = base.register_forward_pre_hook(self._before_base, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()

    def _before_base(self, base: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        ids = inspect.signature(base.forward).bind_partial(*args, **options).arguments.get("input_ids")
        if ids is None:
            raise ValueError("`input_ids` must be given here, got `inputs_embeds`: nothing marks the image")
        image = ids == self._adapter.image_token_id(self._model)
        self.in_prompt = bool(image.any())
        if self.in_prompt:
            columns = image_columns(image, self.tokens)
            if (columns[:, -1] - columns[:, 0] != self.tokens - 1).any():
                raise ValueError("the visual tokens of an image must stand side by side, got text between them")
            self.columns = columns[:, :1]


@contextmanager
def visual_positions(vlm: Vlm, arrangement: str, *, seed: int = 0, start: int | None = None) -> Iterator[None]:
    """Inside, every forward pass of the model gives its visual tokens other position ids; the content is the same.

    Works for `forward`, `generate` and `answer_tokens`; decoded tokens are numbered on from the arranged prompt. The
    model is as before on exit, also after an exception.

    Parameters
    ----------
    vlm
        The model; its language model must number positions by `position_ids`.
    arrangement, seed
        See `arranged`.
    start
        Number of tokens before the image, for those who run the language model itself (`answer_tokens`); None for the
        whole model.

    Raises
    ------
    KeyError
        For an unknown arrangement; the nearest is suggested.
    ValueError
        On a call inside: for prompts without exactly one image in one piece.
    """
    nearest(arrangement, ARRANGEMENTS, "arrangement")
    place = VisualStart(vlm, start)
    first: list[Tensor] = []  # id of the first visual token, remembered while decoding

    def before(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if place.columns is None or arrangement == "true":
            return args, options
        ids = _ids(options)
        if start is not None:
            first[:] = [place.columns]
        elif place.in_prompt:
            first[:] = [ids.expand(len(place.columns), -1).gather(1, place.columns)]
        changed = {"position_ids": arranged(ids, first[0], place.tokens, arrangement, seed=seed)}
        if options.get("attention_mask") is None:
            # ids that do not rise by one would be read as packed sequences where there is no mask
            changed["attention_mask"] = _everything(options)
        return args, options | changed

    with ExitStack() as stack:
        stack.enter_context(place.attached())
        language = vlm.adapter.language_model(vlm.model)
        stack.callback(language.register_forward_pre_hook(before, with_kwargs=True).remove)
        yield


def _past(options: dict[str, Any]) -> int:
    cache = options.get("past_key_values")
    return 0 if cache is None else int(cache.get_seq_length())


def _ids(options: dict[str, Any]) -> Tensor:
    """Position ids of a call of the language model, as it would count them itself."""
    given: Tensor | None = options.get("position_ids")
    embeds = options["inputs_embeds"]
    return _past(options) + torch.arange(embeds.shape[1], device=embeds.device)[None] if given is None else given


def _everything(options: dict[str, Any]) -> Tensor:
    embeds = options["inputs_embeds"]
    return torch.ones(len(embeds), _past(options) + embeds.shape[1], dtype=torch.int64, device=embeds.device)
