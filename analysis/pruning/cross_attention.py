"""The hooks that prune visual tokens beside the prompt: those that cross-attention layers attend to.

The prompt keeps its length, so ids, masks and caches of the text stay as they are. The language model gets fewer states
to attend to, and its cross-attention mask loses their columns, in every decoding step too: the stock model makes that
mask anew each time, for all states.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, StaticCache

from .arguments import Options, Prefill, named_arguments
from .encode import Encoded, watch
from .hooks import PruningHooks, cache_of
from .inputs import shorten, take_mask
from .selection import Kept, of_prompt


@dataclass(frozen=True)
class _States:
    """Which states of a prompt batch are left.

    Attributes
    ----------
    numbers
        int64 [prompt, state], their numbers among all states of a prompt.
    shown
        bool [prompt, state], False on padding.
    """

    numbers: Tensor
    shown: Tensor


@dataclass(frozen=True)
class _Made:
    """The latest selection, and for what."""

    pictures: list[str]
    input_ids: Tensor
    kept: list[Kept]

    def goes_on(self, pictures: list[str], input_ids: Tensor) -> bool:
        """Whether this is the same batch with one word more, as `generate` without a cache asks for it."""
        old = self.input_ids
        longer = (len(old), old.shape[1] + 1)
        return pictures == self.pictures and input_ids.shape == longer and torch.equal(input_ids[:, :-1], old)


class CrossAttentionHooks(PruningHooks):
    """State of one `prune` context for a family with `cross_attention`; parameters as for `PruningHooks`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._held = torch.empty(0, 0, dtype=torch.bool)
        self._states: _States | None = None
        self._states_by_cache: weakref.WeakKeyDictionary[Cache, _States] = weakref.WeakKeyDictionary()
        self._made: _Made | None = None

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The hooks are on the model inside, and gone afterwards whatever happened."""
        pruner, language_model = self._selector.pruner, self._adapter.language_model(self._model)
        merging = pruner.encoder_merging(self._model, self._adapter, self._selector.keep)
        with ExitStack() as stack:
            watched = watch(self._model, self._adapter, pruner.needs, self._receive, seed=self._seed, merging=merging)
            stack.enter_context(watched)
            for hook in (
                self._base.register_forward_pre_hook(self._before_base, with_kwargs=True),
                language_model.register_forward_pre_hook(self._before_language_model, with_kwargs=True),
                self._base.register_forward_hook(self._after_base),
            ):
                stack.callback(hook.remove)
            yield

    def _before_base(self, base: nn.Module, args: tuple[Any, ...], options: Options) -> None:
        named = named_arguments(base, args, options)
        cache, pixels = named.get("past_key_values"), named.get("pixel_values")
        self._prefill = self._states = None
        if isinstance(cache, StaticCache):
            raise ValueError("static caches are not supported while pruning: they have room for the unpruned image")
        if named.get("cross_attention_states") is not None:
            raise ValueError("`cross_attention_states` must be left to the model while pruning: give `pixel_values`")
        if cache is not None and cache.get_seq_length():
            if pixels is not None:
                raise ValueError("images must come with the first tokens of a prompt, got one after a filled cache")
            self._states = self._states_by_cache.get(cache)
        elif pixels is not None:
            self._prefill = self._seen(named)
        if (self._states or self._prefill) and named.get("cross_attention_mask") is None:
            raise ValueError(
                "`cross_attention_mask` must be given while pruning, got None: the stock model then lets each word see "
                "as many states as words before it, or all, depending on the attention implementation"
            )

    def _seen(self, named: Options) -> Prefill:
        """The prompts of a call with images.

        Raises
        ------
        ValueError
            If they come as embeddings or with a ready-made mask, or if one holds no image.
        """
        ids, mask = named.get("input_ids"), named.get("attention_mask")
        if ids is None:
            raise ValueError("`input_ids` must be given while pruning, got `inputs_embeds`: nothing tells the question")
        if mask is not None and not (isinstance(mask, Tensor) and mask.ndim == 2):
            raise ValueError("`attention_mask` must be [prompt, column] while pruning, got a ready-made one")
        self._held = self._adapter.held_images(named)
        if not self._held.any(1).all():
            row = int((~self._held.any(1)).nonzero()[0])
            raise ValueError(
                "every prompt of a batch with images must hold one while pruning, since the stock model lets others "
                f"attend to padding, got none in prompt {row}"
            )
        self._encoded = None  # the forward that follows encodes them
        image = ids == self._adapter.image_token_id(self._model)
        return Prefill(ids, image, None if mask is None else mask.bool(), None)

    def _before_language_model(
        self, _: nn.Module, args: tuple[Any, ...], options: Options
    ) -> tuple[tuple[Any, ...], Options] | None:
        seen, self._prefill = self._prefill, None
        changed: Options = {}
        if seen is not None:
            assert self._encoded is not None
            changed = self._shortened(self._encoded, seen, options["cross_attention_states"])
        if self._states is None:
            return None
        mask = take_mask(options["cross_attention_mask"], self._states.numbers, self._states.shown, queries=False)
        return args, options | changed | {"cross_attention_mask": mask}

    def _shortened(self, encoded: Encoded, seen: Prefill, states: Tensor) -> Options:
        """The states that are left; nothing if all are."""
        kept = self._kept(encoded, seen)
        self.log.beside_prompts(kept, self._model.config.get_text_config().cross_attention_layers)
        if sum(len(part.places) for part in kept) == sum(layout.tokens for layout in encoded.layouts):
            return {}
        beside = states.reshape(len(kept), -1, states.shape[-1])
        short = shorten(
            beside,
            torch.ones(beside.shape[:2], dtype=torch.bool, device=beside.device),
            [part.places for part in kept],
            policy="keep",
            merged=[part.merged for part in kept],
        )
        self._states = _States(short.columns, short.mask)
        return {"cross_attention_states": short.embeds}

    @torch.no_grad()
    def _kept(self, encoded: Encoded, seen: Prefill) -> list[Kept]:
        """What each prompt keeps of its images, which are its own: `generate` repeats pixels for beams and samples."""
        pictures = [tokens.key for tokens in encoded]
        if self._made is not None and self._made.goes_on(pictures, seen.input_ids):
            kept = self._made.kept
        else:
            kept, first = [], 0
            for row, count in enumerate(self._held.sum(1).tolist()):
                own = range(first, first + count)
                first += count
                asked = functools.partial(self._asked, seen=seen, row=row)
                parts = [self._selector.of_image(encoded, image, asked) for image in own]
                sizes = [encoded.layouts[image].tokens for image in own]
                kept.append(of_prompt(parts, sizes, [encoded.projected[image] for image in own]))
        self._made = _Made(pictures, seen.input_ids, kept)
        return kept

    def _after_base(self, _: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        cache = cache_of(output)
        if cache is not None and self._states is not None:
            self._states_by_cache[cache] = self._states
