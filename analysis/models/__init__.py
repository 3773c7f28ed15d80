"""Models in: one adapter per family, and `load` for any checkpoint of a supported family.

`FAMILIES` is the whole registry: a new family is one file and one entry.
"""

from __future__ import annotations

from .adapter import AbstractAdapter
from .gemma3 import Gemma3Adapter
from .idefics3 import Idefics3Adapter
from .internvl import InternVLAdapter
from .llava import LlavaAdapter, SiglipLlavaAdapter
from .llava_next import LlavaNextAdapter
from .llava_onevision import LlavaOnevisionAdapter
from .load import FAMILIES, adapter_for, load, wrap
from .mllama import MllamaAdapter
from .paligemma import PaliGemmaAdapter
from .qwen2_5_vl import Qwen25VLAdapter
from .qwen2_vl import Qwen2VLAdapter
from .qwen3_vl import Qwen3VLAdapter
from .vlm import Vlm, config_hash, fingerprint

__all__ = [
    "FAMILIES",
    "AbstractAdapter",
    "Gemma3Adapter",
    "Idefics3Adapter",
    "InternVLAdapter",
    "LlavaAdapter",
    "LlavaNextAdapter",
    "LlavaOnevisionAdapter",
    "MllamaAdapter",
    "PaliGemmaAdapter",
    "Qwen2VLAdapter",
    "Qwen3VLAdapter",
    "Qwen25VLAdapter",
    "SiglipLlavaAdapter",
    "Vlm",
    "adapter_for",
    "config_hash",
    "fingerprint",
    "load",
    "wrap",
]
