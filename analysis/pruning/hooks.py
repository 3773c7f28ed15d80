"""The hooks that put a pruner between projector and language model, for `forward` and `generate` alike.

Two pre-hooks do the work. The outer one, on the base model, sees token ids and masks at their original length; the
inner one, on the language model, sees the merged embeddings and hands over the shortened ones. While decoding,
`generate` goes on counting the original length, so the outer hook replaces the prompt's part of the mask.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from analysis.models import AbstractAdapter
from solvers.arrays import IntArray

from .arguments import Options, Prefill, named_arguments, refuse_labels, seen_prompts
from .encode import Encoded, watch
from .inputs import PositionPolicy, Shortened, causal_mask, question_mask, shorten, take, take_mask
from .log import PruningLog
from .prompts import images_of_prompts
from .selection import Kept, Selector, of_prompt
from .tokens import VisualTokens


@dataclass(frozen=True)
class _Pruned:
    """What decoding must know about a pruned prompt batch: its length before, its mask after, the tokens removed, and
    the position id of the last token of each prompt."""

    length: int
    mask: Tensor
    removed: Tensor
    last: Tensor

    def next_id(self, ids: Tensor, past: int) -> Tensor:
        """What the first of the `ids` of a step must be at least, after `past` columns [prompt]."""
        generated = past - self.mask.shape[1]
        counts_text = ids.ndim == 2 or len(ids) == 4
        return generated + (self.mask.sum(1) + self.removed if counts_text else self.last + 1)


@dataclass(frozen=True)
class _Choice:
    """The selection of a prompt batch, valid as long as the prompts only grow."""

    encoded: Encoded
    input_ids: Tensor
    kept: list[Kept]

    def fits(self, encoded: Encoded, input_ids: Tensor) -> bool:
        old = self.input_ids
        return (
            encoded is self.encoded
            and len(input_ids) == len(old)
            and input_ids.shape[1] >= old.shape[1]
            and torch.equal(input_ids[:, : old.shape[1]], old)
        )


class PruningHooks:
    """State of one `prune` context with a pruner that works before the language model.

    Parameters
    ----------
    model
        The Hugging Face model.
    adapter
        What is known about its family.
    selector
        Which tokens stay, and how many of each image.
    policy
        Position ids after pruning.
    seed
        For pruners that draw.
    needed
        Ground truth per prompt, for the oracle.
    log
        Told of every batch of prompts.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        adapter: AbstractAdapter,
        selector: Selector,
        *,
        policy: PositionPolicy,
        seed: int,
        needed: Sequence[IntArray] | None,
        log: PruningLog,
    ) -> None:
        self._model, self._adapter = model, adapter
        self._selector, self._policy, self._seed, self._needed = selector, policy, seed, needed
        self.log = log
        self._base: Any = model.base_model
        self._encoded: Encoded | None = None
        self._choice: _Choice | None = None
        self._prefill: Prefill | None = None
        self._pruned: _Pruned | None = None
        self._by_cache: weakref.WeakKeyDictionary[Cache, _Pruned] = weakref.WeakKeyDictionary()
        self.shortened: Shortened | None = None
        """What the language model was given instead of the latest batch of prompts; None if that was left as it is."""

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The hooks are on the model inside, and gone afterwards whatever happened."""
        needs = self._selector.pruner.needs
        with ExitStack() as stack:
            merging = self._selector.pruner.encoder_merging(self._model, self._adapter, self._selector.keep)
            watched = watch(self._model, self._adapter, needs, self._receive, seed=self._seed, merging=merging)
            stack.enter_context(watched)
            language_model = self._adapter.language_model(self._model)
            for hook in (
                self._model.register_forward_pre_hook(refuse_labels, with_kwargs=True),
                self._base.register_forward_pre_hook(self._before_base, with_kwargs=True),
                language_model.register_forward_pre_hook(self._before_language_model, with_kwargs=True),
                self._base.register_forward_hook(self._after_base),
            ):
                stack.callback(hook.remove)
            yield

    def _receive(self, encoded: Encoded) -> None:
        self._encoded = encoded

    def _before_base(
        self, base: nn.Module, args: tuple[Any, ...], options: Options
    ) -> tuple[tuple[Any, ...], Options] | None:
        named = named_arguments(base, args, options)
        self._prefill = self._pruned = self.shortened = None
        cache = named.get("past_key_values")
        past = int(cache.get_seq_length()) if cache is not None else 0
        pruned = self._by_cache.get(cache) if cache is not None else None
        if past == 0 or pruned is None:
            self._prefill = seen_prompts(self._model, self._adapter, named, past)
            if self._prefill is not None and named.get("pixel_values") is not None:
                self._encoded = None  # the forward that follows encodes them
            return None
        seen_prompts(self._model, self._adapter, named, past)
        return (), self._continued(named, pruned, past)

    def _before_language_model(
        self, _: nn.Module, args: tuple[Any, ...], options: Options
    ) -> tuple[tuple[Any, ...], Options] | None:
        seen, self._prefill = self._prefill, None
        if seen is None:
            return None
        if self._encoded is None:
            raise ValueError("`mm_encoder_outputs` must have been encoded inside the pruning context, got others")
        kept = self._kept(self._encoded, seen)
        self.log.before_language_model(seen.image.sum(1).tolist(), kept, self._policy)
        if all(len(part.places) == count for part, count in zip(kept, seen.image.sum(1).tolist(), strict=True)):
            return None  # nothing is touched, so keeping everything is the stock computation to the bit
        short = shorten(
            options["inputs_embeds"],
            seen.image,
            [part.places for part in kept],
            policy=self._policy,
            mask=seen.valid,
            position_ids=options.get("position_ids"),
            merged=[part.merged for part in kept],
        )
        self.shortened = short
        last = short.position_ids[..., -1].reshape(-1, len(short.mask))[-1]
        self._pruned = _Pruned(seen.image.shape[1], short.mask, short.removed, last)
        changed = {"inputs_embeds": short.embeds, "position_ids": short.position_ids}
        return args, options | changed | self._masks(options, short) | _deepstack(options, short, kept)

    def _masks(self, options: Options, short: Shortened) -> Options:
        """The masks of the shortened batch, in the form in which the language model was to get them."""
        mask = options.get("attention_mask")
        if isinstance(mask, Mapping):
            return {"attention_mask": {kind: self._mask(one, short) for kind, one in mask.items()}}
        return {"attention_mask": self._mask(mask, short)}

    def _mask(self, mask: Any, short: Shortened) -> Tensor | None:
        if mask is not None and not isinstance(mask, Tensor):
            raise ValueError(
                f"masks of type {type(mask).__name__} cannot be shortened: use another attention implementation, such "
                "as 'sdpa'"
            )
        if mask is not None and mask.ndim == 4:
            return take_mask(mask, short.columns, short.mask)
        implementation = self._model.config.get_text_config()._attn_implementation
        if self._adapter.mask_from_outside and "flash" not in implementation:
            # As attention does without a mask: PaliGemma's, whose prompts attend in both directions, hides nothing.
            causal = getattr(self._adapter.text_layers(self._model)[0].self_attn, "is_causal", True)
            return causal_mask(short.mask, short.embeds.dtype, implementation, both_ways=not causal)
        # An explicit mask even without padding: gaps in the ids alone would be read as packed sequences.
        return short.mask.long()

    @torch.no_grad()
    def _kept(self, encoded: Encoded, seen: Prefill) -> list[Kept]:
        """What each prompt keeps. Rows of one image follow each other (beams, samples)."""
        if self._choice is not None and self._choice.fits(encoded, seen.input_ids):
            return self._choice.kept
        sizes = [layout.tokens for layout in encoded.layouts]
        images = images_of_prompts(seen.image.sum(1).tolist(), sizes)
        self._check_encoded_here(encoded, images, seen)
        aware = self._selector.pruner.question_aware
        known: dict[int, Kept] = {}
        kept = []
        for row, own in enumerate(images):
            for image in own:
                if aware or image not in known:
                    asked = functools.partial(self._asked, seen=seen, row=row)
                    known[image] = self._selector.of_image(encoded, image, asked)
            rows = [encoded.projected[image] for image in own]
            kept.append(of_prompt([known[image] for image in own], [sizes[image] for image in own], rows))
        self._choice = _Choice(encoded, seen.input_ids, kept)
        return kept

    def _check_encoded_here(self, encoded: Encoded, images: Sequence[Sequence[int]], seen: Prefill) -> None:
        """Images that `generate` encoded beforehand, repeated if there are several samples per prompt."""
        if seen.given is None:
            return
        own = torch.cat([encoded.projected[image] for prompt in images for image in prompt])
        given = torch.cat([part.reshape(-1, part.shape[-1]) for part in seen.given])
        if not torch.equal(own, given):
            raise ValueError("`mm_encoder_outputs` must have been encoded inside the pruning context, got others")

    def _asked(self, tokens: VisualTokens, seen: Prefill, row: int) -> VisualTokens:
        """The tokens with what depends on the question of prompt `row`."""
        pruner, prompts = self._selector.pruner, len(seen.input_ids)
        if "text" in pruner.needs:
            words = question_mask(seen.input_ids, self._adapter.image_token_id(self._model), seen.valid)[row]
            text = self._adapter.embedding(self._model)(seen.input_ids[row, words])
            tokens = tokens.asked(text.float().cpu().numpy())
        if "needed" in pruner.needs and self._needed is not None:
            if prompts % len(self._needed):
                raise ValueError(f"`needed` must hold one entry per prompt, got {len(self._needed)} for {prompts}")
            tokens = tokens.with_needed(self._needed[row * len(self._needed) // prompts])
        return tokens

    def _after_base(self, _: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        cache = cache_of(output)
        if cache is not None and self._pruned is not None:
            self._by_cache[cache] = self._pruned

    def _continued(self, named: Options, pruned: _Pruned, past: int) -> Options:
        """Arguments of a decoding step: the mask of the shortened prompt, position ids as the policy has them."""
        inputs = named["input_ids"] if named.get("input_ids") is not None else named["inputs_embeds"]
        prompts, short = pruned.mask.shape
        steps, device = inputs.shape[1], pruned.mask.device
        mask, ids = named.get("attention_mask"), named.get("position_ids")
        if mask is None:
            tail = torch.ones(prompts, past + steps - short, dtype=torch.long, device=device)
        else:
            tail = mask[:, pruned.length :]
        if ids is None and self._adapter.position_axes > 1:
            raise ValueError("`position_ids` must be given to continue a pruned prompt of this family, got None")
        if ids is None:  # the stock model would count from the short cache
            ids = past + pruned.length - short + torch.arange(steps, device=device).expand(prompts, -1)
        elif (ids.reshape(-1, *ids.shape[-2:])[0, :, 0] < pruned.next_id(ids, past)).any():
            raise ValueError(
                f"a cache of {past} columns that was filled while pruning cannot be continued by counting them, as "
                "another `generate` does: start again from the whole prompt"
            )
        if self._policy == "compact":
            ids = ids - pruned.removed[:, None]
        return named | {"attention_mask": torch.cat([pruned.mask.to(tail.dtype), tail], 1), "position_ids": ids}


def cache_of(output: Any) -> Cache | None:
    """The cache that a model put out, or None."""
    parts = output.values() if isinstance(output, Mapping) else output
    return next((part for part in parts if isinstance(part, Cache)), None)


def _deepstack(options: Options, short: Shortened, kept: Sequence[Kept]) -> Options:
    """Visual features that Qwen3-VL adds again inside the language model: of the kept tokens, merged as these are."""
    where = options.get("visual_pos_masks")
    if where is None:
        return {}
    counts = where.sum(1).tolist()
    levels = [level.split(counts) for level in options["deepstack_visual_embeds"]]
    return {
        "visual_pos_masks": take(where, short.columns, 1) & short.mask,
        "deepstack_visual_embeds": [
            torch.cat([part.of(rows) for part, rows in zip(kept, level, strict=True)]) for level in levels
        ],
    }
