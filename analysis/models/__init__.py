"""Models in: one adapter per family, and `load` for any checkpoint of a supported family.

`FAMILIES` is the whole registry: a new family is one file and one entry.
"""

from __future__ import annotations

from .adapter import AbstractAdapter
from .attention import attention_rows, mean_attention_map
from .llava import LlavaAdapter
from .load import FAMILIES, adapter_for, load, wrap
from .vlm import Vlm, config_hash

__all__ = [
    "FAMILIES",
    "AbstractAdapter",
    "LlavaAdapter",
    "Vlm",
    "adapter_for",
    "attention_rows",
    "config_hash",
    "load",
    "mean_attention_map",
    "wrap",
]
