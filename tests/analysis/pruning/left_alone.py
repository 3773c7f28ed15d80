"""What pruning must leave as it was: attributes, hooks, configurations and registries of a model."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .families import Family


def state_of(model: PreTrainedModel) -> dict[str, Any]:
    """All that pruning might leave behind."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")
    return {
        "attributes": {name: set(vars(module)) for name, module in model.named_modules()},
        "hooks": {name: [len(getattr(module, kind)) for kind in hooks] for name, module in model.named_modules()},
        "configs": (model.config.to_dict(), model.generation_config.to_dict()),
        "registries": [
            {name: dict(value) if isinstance(value, dict) else value for name, value in vars(registry).items()}
            for registry in (ALL_ATTENTION_FUNCTIONS, ALL_MASK_ATTENTION_FUNCTIONS)
        ],
    }


@contextmanager
def left_as_it_was(model: PreTrainedModel) -> Iterator[None]:
    """Fails if the model is not the same afterwards; an exception inside goes on."""
    before = state_of(model)
    try:
        yield
    finally:
        assert state_of(model) == before


@functools.cache
def stock_state(model: PreTrainedModel, family: Family) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """State and weights of a model that has run, but never been pruned: the library adds hooks of its own then."""
    model.generate(**family.batch(2), max_new_tokens=4, do_sample=False)
    return state_of(model), {name: value.clone() for name, value in model.state_dict().items()}


@contextmanager
def family_left_as_it_was(family: Family) -> Iterator[None]:
    """Fails if one of the models of a family is not as before it was ever pruned."""
    models = [family.model(attention) for attention in ("sdpa", "eager")]
    before = [stock_state(model, family) for model in models]
    yield
    for model, (state, weights) in zip(models, before, strict=True):
        assert state_of(model) == state
        assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
