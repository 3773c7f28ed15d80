"""Qwen3-VL: as Qwen2-VL, but visual features of several depths of its encoder enter several layers (deepstack)."""

from __future__ import annotations

from typing import ClassVar

from .qwen2_vl import Qwen2VLAdapter


class Qwen3VLAdapter(Qwen2VLAdapter):
    """`Qwen3VLForConditionalGeneration`.

    A kept token keeps what it receives in later layers; into one that takes in others, that is merged as well.
    """

    model_types: ClassVar[tuple[str, ...]] = ("qwen3_vl",)
