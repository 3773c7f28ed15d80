"""The hooks that put a pruner between projector and language model, for `forward` and `generate` alike.

Two pre-hooks do the work. The outer one, on the base model, sees token ids and masks at their original length; the
inner one, on the language model, sees the merged embeddings and hands over the shortened ones. While decoding,
`generate` goes on counting the original length, so the outer hook replaces the prompt's part of the mask.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel, StaticCache

from analysis.models import AbstractAdapter
from solvers.arrays import IntArray

from .encode import Encoded, watch
from .inputs import PositionPolicy, image_columns, question_mask, shorten
from .pruner import AbstractPruner

Options = dict[str, Any]


@dataclass(frozen=True)
class _Prefill:
    """What the outer hook saw of a prompt batch; the masks are bool [prompt, column]."""

    input_ids: Tensor
    image: Tensor
    valid: Tensor | None


@dataclass(frozen=True)
class _Pruned:
    """What decoding must know about a pruned prompt batch: its length before, its mask after, the tokens removed."""

    length: int
    mask: Tensor
    removed: Tensor


@dataclass(frozen=True)
class _Choice:
    """The selection of a prompt batch, valid as long as the prompts only grow."""

    encoded: Encoded
    input_ids: Tensor
    kept: list[IntArray]

    def fits(self, encoded: Encoded, input_ids: Tensor) -> bool:
        old = self.input_ids
        return (
            encoded is self.encoded
            and len(input_ids) == len(old)
            and input_ids.shape[1] >= old.shape[1]
            and torch.equal(input_ids[:, : old.shape[1]], old)
        )


class PruningHooks:
    """State of one `prune` context.

    Parameters
    ----------
    model
        The Hugging Face model.
    adapter
        What is known about its family.
    pruner, keep
        Which tokens stay, and how many of each image.
    policy
        Position ids after pruning.
    seed
        For pruners that draw.
    needed
        Ground truth per prompt, for the oracle.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        adapter: AbstractAdapter,
        pruner: AbstractPruner,
        keep: int,
        *,
        policy: PositionPolicy,
        seed: int,
        needed: Sequence[IntArray] | None,
    ) -> None:
        self._model, self._adapter = model, adapter
        self._pruner, self._keep, self._policy, self._seed, self._needed = pruner, keep, policy, seed, needed
        self._base: Any = model.base_model
        self._encoded: Encoded | None = None
        self._choice: _Choice | None = None
        self._prefill: _Prefill | None = None
        self._pruned: _Pruned | None = None
        self._by_cache: weakref.WeakKeyDictionary[Cache, _Pruned] = weakref.WeakKeyDictionary()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The hooks are on the model inside, and gone afterwards whatever happened."""
        with ExitStack() as stack:
            stack.enter_context(watch(self._model, self._adapter, self._pruner.needs, self._receive, seed=self._seed))
            language_model = self._adapter.language_model(self._model)
            for hook in (
                self._model.register_forward_pre_hook(self._before_head, with_kwargs=True),
                self._base.register_forward_pre_hook(self._before_base, with_kwargs=True),
                language_model.register_forward_pre_hook(self._before_language_model, with_kwargs=True),
                self._base.register_forward_hook(self._after_base),
            ):
                stack.callback(hook.remove)
            yield

    def _receive(self, encoded: Encoded) -> None:
        self._encoded = encoded

    def _before_head(self, model: nn.Module, args: tuple[Any, ...], options: Options) -> None:
        if _named(model, args, options).get("labels") is not None:
            raise ValueError(
                "`labels` cannot be aligned with the shortened sequence of a pruned model: leave them out and score "
                "the last n tokens from the right, logits[:, -n - 1 : -1]"
            )

    def _before_base(
        self, base: nn.Module, args: tuple[Any, ...], options: Options
    ) -> tuple[tuple[Any, ...], Options] | None:
        named = _named(base, args, options)
        self._prefill = self._pruned = None
        cache = named.get("past_key_values")
        if isinstance(cache, StaticCache):
            raise ValueError("static caches are not supported while pruning: their masks have the unpruned length")
        past = int(cache.get_seq_length()) if cache is not None else 0
        if past == 0:
            self._prefill = self._seen(named)
            return None
        if named.get("pixel_values") is not None or _image_outputs(named) is not None:
            raise ValueError("images must come with the first tokens of a prompt, got one after a filled cache")
        pruned = self._by_cache.get(cache) if cache is not None else None
        return ((), self._continued(named, pruned, past)) if pruned is not None else None

    def _seen(self, named: Mapping[str, Any]) -> _Prefill | None:
        """Checks of a prompt batch before it is merged; None if it holds no image."""
        ids, mask = named.get("input_ids"), named.get("attention_mask")
        if ids is None:
            raise ValueError("`input_ids` must be given while pruning, got `inputs_embeds`: nothing marks the image")
        image = ids == self._adapter.image_token_id(self._model)
        if not image.any():
            return None
        if mask is not None and not (isinstance(mask, Tensor) and mask.ndim == 2):
            raise ValueError(
                "`attention_mask` must be [prompt, column] while pruning, got a ready-made one: own masks are not "
                "supported"
            )
        outputs = _image_outputs(named)
        if named.get("pixel_values") is not None:
            self._encoded = None  # the forward that follows encodes them
        elif outputs is None:
            raise ValueError("the prompts hold image placeholders, got neither `pixel_values` nor encoded images")
        else:
            self._check_encoded_here(list(outputs.pooler_output))
        image_columns(image, self._adapter.tokens(self._model))
        return _Prefill(ids, image, None if mask is None else mask.bool())

    def _check_encoded_here(self, features: list[Tensor]) -> None:
        """Images that `generate` encoded beforehand, repeated if there are several samples per prompt."""
        own = self._encoded
        known = (
            own is not None
            and len(features) % len(own) == 0
            and all(
                torch.equal(given, own.projected[row * len(own) // len(features)]) for row, given in enumerate(features)
            )
        )
        if not known:
            raise ValueError("`mm_encoder_outputs` must have been encoded inside the pruning context, got others")

    def _before_language_model(
        self, _: nn.Module, args: tuple[Any, ...], options: Options
    ) -> tuple[tuple[Any, ...], Options] | None:
        seen, self._prefill = self._prefill, None
        if seen is None or self._encoded is None:
            return None
        kept = self._kept(self._encoded, seen)
        if all(len(tokens) == self._adapter.tokens(self._model) for tokens in kept):
            return None  # nothing is touched, so keeping everything is the stock computation to the bit
        short = shorten(
            options["inputs_embeds"],
            seen.image,
            kept,
            policy=self._policy,
            mask=seen.valid,
            position_ids=options.get("position_ids"),
        )
        self._pruned = _Pruned(seen.image.shape[1], short.mask, short.removed)
        # An explicit mask even without padding: gaps in the ids alone would be read as packed sequences.
        changed = {"inputs_embeds": short.embeds, "position_ids": short.position_ids}
        return args, options | changed | {"attention_mask": short.mask.long()}

    @torch.no_grad()
    def _kept(self, encoded: Encoded, seen: _Prefill) -> list[IntArray]:
        """Kept tokens of every prompt. Rows of one image follow each other (beams, samples)."""
        if self._choice is not None and self._choice.fits(encoded, seen.input_ids):
            return self._choice.kept
        prompts = len(seen.input_ids)
        if self._pruner.question_aware:
            kept = [self._kept_for_prompt(encoded, seen, row) for row in range(prompts)]
        else:
            of_image = [self._pruner.select(tokens, self._keep) for tokens in encoded]
            kept = [of_image[row * len(encoded) // prompts] for row in range(prompts)]
        self._choice = _Choice(encoded, seen.input_ids, kept)
        return kept

    def _kept_for_prompt(self, encoded: Encoded, seen: _Prefill, row: int) -> IntArray:
        prompts = len(seen.input_ids)
        tokens = encoded[row * len(encoded) // prompts]
        if "text" in self._pruner.needs:
            words = question_mask(seen.input_ids, self._adapter.image_token_id(self._model), seen.valid)[row]
            text = self._adapter.embedding(self._model)(seen.input_ids[row, words])
            tokens = tokens.asked(text.float().cpu().numpy())
        if self._needed is not None:
            if prompts % len(self._needed):
                raise ValueError(f"`needed` must hold one entry per prompt, got {len(self._needed)} for {prompts}")
            tokens = tokens.with_needed(self._needed[row * len(self._needed) // prompts])
        return self._pruner.select(tokens, self._keep)

    def _after_base(self, _: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        parts = output.values() if isinstance(output, Mapping) else output
        cache = next((part for part in parts if isinstance(part, Cache)), None)
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
        if ids is None:  # the stock model would count from the short cache
            ids = past + pruned.length - short + torch.arange(steps, device=device).expand(prompts, -1)
        elif (ids[:, 0] < pruned.mask.sum(1) + pruned.removed + past - short).any():
            raise ValueError(
                f"a cache of {past} columns that was filled while pruning cannot be continued by counting them, as "
                "another `generate` does: start again from the whole prompt"
            )
        if self._policy == "compact":
            ids = ids - pruned.removed[:, None]
        return named | {"attention_mask": torch.cat([pruned.mask.to(tail.dtype), tail], 1), "position_ids": ids}


def _named(module: nn.Module, args: tuple[Any, ...], options: Options) -> Options:
    """All arguments of a forward call by name."""
    bound = inspect.signature(module.forward).bind(*args, **options).arguments
    extra = bound.pop("kwargs", {})
    return {**bound, **extra}


def _image_outputs(named: Mapping[str, Any]) -> Any:
    """What `generate` encoded before the first step, or None; it passes an empty dict for a prompt of text only."""
    return (named.get("mm_encoder_outputs") or {}).get("image")
