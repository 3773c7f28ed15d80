"""Faster linear layers of a model in float32 on a CPU, as long as a context lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# What `torch.compile` makes of linear layers on a CPU. Part of no public interface, so releases may come without it.
_ONEDNN: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
_FEW_ROWS = 64  # below that, starting oneDNN takes longer than it saves


@contextmanager
def fast_linear(model: nn.Module) -> Iterator[None]:
    """Inside, the linear layers of `model` are computed by oneDNN; afterwards the model is as it was.

    PyTorch leaves float32 products on x86 to the BLAS it was built with. MKL does without AVX-512 on processors that
    are not Intel's, where oneDNN is about twice as fast; elsewhere they are equal. Results agree up to the order of
    summation. Layers in another format or on another device are left alone, and all of them where this PyTorch has no
    such operator.
    """
    changed = [module for module in model.modules() if _can_be_faster(module)] if _ONEDNN is not None else []
    try:
        for module in changed:
            # An attribute of the instance hides the method of its class.
            vars(module)["forward"] = partial(_linear, module)
        yield
    finally:
        for module in changed:
            vars(module).pop("forward", None)


def _can_be_faster(module: nn.Module) -> TypeGuard[nn.Linear]:
    if type(module) is not nn.Linear or "forward" in vars(module):
        return False
    weight = module.weight
    return weight.device.type == "cpu" and weight.dtype == torch.float32


def _linear(module: nn.Linear, inputs: Tensor) -> Tensor:
    weight, bias = module.weight, module.bias
    if inputs.numel() < _FEW_ROWS * weight.shape[1] or inputs.dtype != weight.dtype or torch.is_grad_enabled():
        return F.linear(inputs, weight, bias)
    outputs: Tensor = _ONEDNN(inputs, weight, bias, "none", [], "")
    return outputs
