"""The hooks that shorten the sequence between layers of the language model, for `forward` and `generate` alike.

Layer 0 runs on everything, so the library goes on counting the whole prompt, and the cache of a later layer is simply
shorter. A pre-hook on every layer gathers what belongs to the sequence as it is there: at a stage the states, and from
then on rotary embedding, position ids and mask; while decoding it gives the later layers masks of their own length.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from analysis.models import AbstractAdapter
from analysis.models.layout import ImageLayout
from solvers.arrays import IntArray

from ..active import active
from ..arguments import Options, Prefill, named_arguments, refuse_labels, seen_prompts
from ..inputs import PositionPolicy, take
from ..log import PruningLog
from ..pruner import Keep
from ..selection import Kept
from ..shadowing import shadowed
from .batch import Batch, entering
from .prefill import Choices, PrefillPass
from .side import Shorter, Side
from .stage import AbstractInnerPruner
from .step import StepPass


@dataclass(frozen=True, eq=False)
class _Prompts:
    """Prompts about to enter the language model, and for how many columns at their end logits are asked."""

    seen: Prefill
    images: Any
    asked: int


@dataclass(frozen=True, eq=False)
class _Decided:
    """The choices for a batch of prompts, valid as long as the prompts only grow."""

    images: Any
    input_ids: Tensor
    places: list[IntArray]
    choices: Choices

    def fits(self, prompts: _Prompts, batch: Batch) -> bool:
        new, old = prompts.seen.input_ids, self.input_ids
        return (
            prompts.images is not None
            and prompts.images is self.images
            and len(new) == len(old)
            and new.shape[1] >= old.shape[1]
            and torch.equal(new[:, : old.shape[1]], old)
            and all(map(np.array_equal, batch.places, self.places))
        )


class InsideHooks:
    """State of one `prune` context with a pruner that works inside the language model.

    Parameters
    ----------
    model
        The Hugging Face model.
    adapter
        What is known about its family.
    pruner
        What chooses.
    keep
        Budget of each image; see `Batch.budgets`.
    policy
        Position ids after a stage.
    log
        Told of every batch of prompts.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        adapter: AbstractAdapter,
        pruner: AbstractInnerPruner,
        keep: Keep,
        *,
        policy: PositionPolicy,
        log: PruningLog,
    ) -> None:
        self._model, self._adapter, self._pruner, self._keep, self._log = model, adapter, pruner, keep, log
        self._base: Any = model.base_model
        language_model = adapter.language_model(model)
        self._side = Side(language_model, policy, causal=not adapter.mask_from_outside)
        self._layers = adapter.text_layers(model)
        self._asked = 0
        self._layouts: list[ImageLayout] | None = None
        self._prompts: _Prompts | None = None
        self._pass: PrefillPass | StepPass | None = None
        self._batch: Batch | None = None
        self._decided: _Decided | None = None
        self._by_cache: weakref.WeakKeyDictionary[Cache, tuple[int, list[Shorter]]] = weakref.WeakKeyDictionary()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The hooks are on the model inside, and gone afterwards whatever happened."""
        model, language_model = self._model, self._side.language_model
        with ExitStack() as stack:
            stack.callback(self._forget)
            stack.enter_context(shadowed(self._base, "get_image_features", self._noting_layouts))
            if hasattr(language_model, "_deepstack_process"):
                stack.enter_context(shadowed(language_model, "_deepstack_process", self._deepstack))
            hooks = [
                model.register_forward_pre_hook(refuse_labels, with_kwargs=True),
                model.register_forward_pre_hook(self._before_model, with_kwargs=True),
                self._base.register_forward_pre_hook(self._before_base, with_kwargs=True),
                self._base.register_forward_hook(self._after_base),
            ]
            for index, layer in enumerate(self._layers):
                before_layer = functools.partial(self._before_layer, index)
                hooks.append(layer.register_forward_pre_hook(before_layer, with_kwargs=True))
            for hook in hooks:
                stack.callback(hook.remove)
            yield

    def _forget(self) -> None:
        """Drop what belongs to the latest forward, which an exception may have cut short."""
        if isinstance(self._pass, PrefillPass):
            self._pass.close()
        self._pass = self._prompts = self._batch = None

    def _noting_layouts(self, stock: Callable[..., Any]) -> Callable[..., Any]:
        # The library reads this method's signature, which `wraps` keeps.
        @functools.wraps(stock)
        def noted(*args: Any, **options: Any) -> Any:
            bound = inspect.signature(stock).bind(*args, **options).arguments
            self._layouts = self._adapter.layouts(self._model, {**bound, **bound.pop("kwargs", {})})
            return stock(*args, **options)

        return noted

    def _before_model(self, model: nn.Module, args: tuple[Any, ...], options: Options) -> None:
        asked = named_arguments(model, args, options).get("logits_to_keep")
        self._asked = asked if isinstance(asked, int) else 0

    def _before_base(self, base: nn.Module, args: tuple[Any, ...], options: Options) -> None:
        self._forget()
        asked, self._asked = self._asked, 0
        named = named_arguments(base, args, options)
        cache = named.get("past_key_values")
        past = int(cache.get_seq_length()) if cache is not None else 0
        if past == 0 and cache is not None:
            self._by_cache.pop(cache, None)
        seen = seen_prompts(self._model, self._adapter, named, past)
        if seen is not None:
            if named.get("pixel_values") is not None:
                self._layouts = None  # the forward that follows encodes them
            images = (named.get("mm_encoder_outputs") or {}).get("image")
            self._prompts = _Prompts(seen, images, asked)
        elif cache is not None and cache in self._by_cache:
            length, shorter = self._by_cache[cache]
            mask = named.get("attention_mask")
            is_padding_mask = isinstance(mask, Tensor) and mask.ndim == 2
            self._pass = StepPass(self._side, shorter, length, mask if is_padding_mask else None)

    def _before_layer(
        self, index: int, layer: nn.Module, args: tuple[Any, ...], options: Options
    ) -> tuple[tuple[Any, ...], Options] | None:
        if index == 0 and self._prompts is not None:
            self._pass = self._begin(self._prompts)
        return None if self._pass is None else self._pass.before_layer(index, layer, args, options)

    def _begin(self, prompts: _Prompts) -> PrefillPass:
        """The prompts at the first layer, behind whatever prunes ahead of the language model."""
        if self._layouts is None:
            raise ValueError("`mm_encoder_outputs` must have been encoded inside the pruning context, got others")
        before = active(self._base, "before")
        self._batch = batch = entering(
            prompts.seen,
            self._layouts,
            None if before is None else before.shortened,
            self._adapter.image_token_id(self._model),
            prompts.asked,
        )
        kept = [Kept(places) for places in batch.places]
        self._log.before_language_model(prompts.seen.image.sum(1).tolist(), kept, self._side.policy)
        plan = [
            self._pruner.stages(len(places), len(self._layers), keep) if keep else ()
            for places, keep in zip(batch.places, batch.budgets(self._keep), strict=True)
        ]
        if self._decided is not None and not self._decided.fits(prompts, batch):
            self._decided = None
        known = None if self._decided is None else self._decided.choices
        logs = [self._log] if before is None else [self._log, before.log]

        def changed(layer: int, counts: IntArray) -> None:
            for log in logs:
                log.inside(layer, counts)

        return PrefillPass(self._side, self._pruner, batch, plan, known=known, changed=changed)

    def _after_base(self, _: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        done, prompts, batch = self._pass, self._prompts, self._batch
        self._forget()
        if not isinstance(done, PrefillPass) or prompts is None or batch is None:
            return
        if self._decided is None:
            ids = prompts.seen.input_ids[:, : batch.end]
            self._decided = _Decided(prompts.images, ids, batch.places, done.choices)
        parts: Sequence[Any] = tuple(output.values()) if isinstance(output, Mapping) else output
        cache = next((part for part in parts if isinstance(part, Cache)), None)
        if cache is not None and done.shorter:
            self._by_cache[cache] = (batch.words.shape[1], done.shorter)

    def _deepstack(self, stock: Callable[..., Any]) -> Callable[..., Any]:
        """Qwen3-VL adds visual features again behind its first layers: to the tokens that are still there."""

        @functools.wraps(stock)
        def process(states: Tensor, visual: Tensor, features: Tensor) -> Any:
            packing = self._pass.packing if isinstance(self._pass, PrefillPass) else None
            if packing is not None:
                own = packing.shown & ~packing.merged
                stays = torch.zeros_like(visual)
                rows, positions = own.nonzero(as_tuple=True)
                stays[rows, packing.sources[rows, positions]] = True
                features, visual = features[stays[visual]], take(visual, packing.sources, 1) & own
            return stock(states, visual, features)

        return process
