"""A question to a model with random weights, and the time that each part of its answer takes under a pruner."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel, StoppingCriteria, StoppingCriteriaList

from analysis.models import adapter_for
from analysis.pruning import AbstractPruner, prune

from .random_models import prompt, random_model

CHOOSING = ("quotas", "select", "assign", "choose", "clusters")
"""Methods of a pruner that the hooks call to choose. None of them calls another."""
PARTS = ("before_ms", "select_ms", "prefill_ms", "first_token_ms", "decode_ms", "total_ms")
"""before: encoder, projector, evidence, and choosing ahead of the language model. prefill: the layers of the language
model on the prompt, and choosing inside it. select: how much of either was choosing; merging in the encoder is no part
of it. first_token: all until the first token is written. decode: each token after it. total: the whole answer."""

P = TypeVar("P", bound=AbstractPruner)


@dataclass(frozen=True)
class Question:
    """A model with a prompt about one image; `about` makes one.

    Parameters
    ----------
    model, inputs
        The model, and the arguments of its `generate`.
    patches, visual
        Visual tokens that a budget can keep, and those that the stock model sees: with the newlines of LLaVA-NeXT.
    """

    model: PreTrainedModel
    inputs: Mapping[str, Any]
    patches: int
    visual: int

    @classmethod
    def about(cls, name: str, device: torch.device, words: int, *, small: bool = False) -> Question:
        """A prompt of `words` text tokens for architecture `name`, made on `device` and answered once."""
        model, images = random_model(name, device, small=small)
        (layout,) = adapter_for(model).layouts(model, images)
        question = cls(model, prompt(model, images, words), layout.patches, layout.tokens)
        question._answer(Watch(device), new=2)
        return question

    @property
    def weights(self) -> int:
        """Bytes of the model."""
        return sum(entry.numel() * entry.element_size() for entry in self.model.parameters())

    def measured(
        self, entry: AbstractPruner | None, keep: int, *, new: int, samples: int, untimed: int = 1
    ) -> dict[str, float]:
        """Medians of `PARTS` under a pruner, or of the stock model.

        Parameters
        ----------
        entry, keep
            The pruner, or None, and its budget.
        new
            Tokens of an answer, at least 2.
        samples, untimed
            Timed answers, and answers before them.

        Returns
        -------
        dict
            `PARTS` in milliseconds; visual, the tokens in a layer of the language model, mean over layers; peak_mib.
        """
        watch = Watch(self.model.device)
        context = (
            nullcontext()
            if entry is None
            else prune(self.model, watch.choosing(entry), keep, needed=[range(keep // 2)])
        )
        with context as log:
            for _ in range(untimed):
                self._answer(watch, new)
            peak = self._peak(watch, new)
            times = [self._answer(watch, new) for _ in range(samples)]
        found = {part: 1e3 * median(answer[part] for answer in times) for part in PARTS}
        return found | {"visual": self.visual if log is None else float(log.average[0]), "peak_mib": peak / 2**20}

    @torch.no_grad()
    def _answer(self, watch: Watch, new: int) -> dict[str, float]:
        """Seconds of the parts of one answer."""
        language_model = adapter_for(self.model).language_model(self.model)
        steps = _Steps(watch)
        # Registered behind the hooks of `prune`, so that what chooses before the language model is done by then.
        hooks = (
            language_model.register_forward_pre_hook(lambda *_: steps.entered.append(watch.now())),
            language_model.register_forward_hook(lambda *_: steps.left.append(watch.now())),
        )
        watch.spent = 0.0
        model: Any = self.model
        try:
            start = watch.now()
            model.generate(
                **self.inputs,
                max_new_tokens=new,
                do_sample=False,
                stopping_criteria=StoppingCriteriaList([steps]),
            )
            end = watch.now()
        finally:
            for hook in hooks:
                hook.remove()
        found = steps.written
        return {
            "before_ms": steps.entered[0] - start, "select_ms": watch.spent,
            "prefill_ms": steps.left[0] - steps.entered[0], "first_token_ms": found[0] - start,
            "decode_ms": (found[-1] - found[0]) / (len(found) - 1), "total_ms": end - start,
        }  # fmt: skip

    def _peak(self, watch: Watch, new: int) -> float:
        """Most bytes in use on the GPU during an answer, beyond weights and inputs, which lie there anyway."""
        device = self.model.device
        if device.type != "cuda":
            return math.nan
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        self._answer(watch, new)
        return torch.cuda.max_memory_allocated(device) - before


class Watch:
    """Reads the clock when the device has done all it was told, and adds up what choosing takes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.spent = 0.0

    def now(self) -> float:
        """Seconds."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def choosing(self, entry: P) -> P:
        """The same pruner, its choices timed, with whatever evidence they make on the way."""
        watched = copy.copy(entry)
        for name in CHOOSING:
            if hasattr(entry, name):
                # Pruners are frozen; an attribute of the copy hides the method of its class.
                object.__setattr__(watched, name, self._timed(getattr(entry, name)))
        return watched

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            began = self.now()
            try:
                return method(*args, **options)
            finally:
                self.spent += self.now() - began

        return timed


class _Steps(StoppingCriteria):
    """Never stops; notes when the language model was entered and left, and when tokens were written."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.entered: list[float] = []
        self.left: list[float] = []
        self.written: list[float] = []

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        self.written.append(self._watch.now())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
