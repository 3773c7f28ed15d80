"""Models in: one adapter per family, and `load` for any checkpoint of a supported family.

`FAMILIES` is the whole registry: a new family is one file and one entry.
"""

from __future__ import annotations

from .adapter import AbstractAdapter
from .llava import LlavaAdapter, SiglipLlavaAdapter
from .load import FAMILIES, adapter_for, load, wrap
from .vlm import Vlm, config_hash, fingerprint

__all__ = [
    "FAMILIES",
    "AbstractAdapter",
    "LlavaAdapter",
    "SiglipLlavaAdapter",
    "Vlm",
    "adapter_for",
    "config_hash",
    "fingerprint",
    "load",
    "wrap",
]
