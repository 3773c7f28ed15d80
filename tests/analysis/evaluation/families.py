"""Tiny models of families whose images differ in their visual tokens, and of others that cannot be packed, each with a
processor; and a task with pictures of several sizes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from transformers import (
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    ProcessorMixin,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
)

from analysis.evaluation import AbstractTask, Question, Sample
from analysis.models import Vlm, wrap

from ..models.processors import IMAGE, PROCESSORS, template, tokenizer
from ..pruning import beside
from ..pruning.families import FAMILIES, PINPOINTS

HEIGHT_AND_WIDTH = ((56, 84), (140, 112), (60, 130))
WORDS = ("w5 w6 w7", "w8 w9", "w10 w11 w12 w13")


@dataclass(frozen=True)
class SeveralSizes(AbstractTask):
    """Random pictures of three sizes in turn, with one to three questions each."""

    images: int = 3
    needed_grid: ClassVar[tuple[int, int] | None] = None
    checksum: str = "several"
    name: ClassVar[str] = "several"

    def __len__(self) -> int:
        return self.images

    def __iter__(self) -> Iterator[Sample]:
        for image in range(self.images):
            size = HEIGHT_AND_WIDTH[image % 3]
            pixels = np.random.default_rng(image).integers(0, 256, (*size, 3), dtype=np.uint8)
            questions = tuple(
                Question(10 * image + number, words, "w5", "any", np.arange(number + 1))
                for number, words in enumerate(WORDS[: 1 + (image + 1) % 3])
            )
            yield Sample(image, Image.fromarray(pixels), questions)


def llava_next() -> ProcessorMixin:
    side = {"height": 56, "width": 56}
    pictures = LlavaNextImageProcessorPil(size={"shortest_edge": 56}, crop_size=side, image_grid_pinpoints=PINPOINTS)
    return LlavaNextProcessor(
        pictures,
        tokenizer(IMAGE, "<image>"),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>"),
    )


class ImagesOnly(Qwen2VLProcessor):
    """Without the processor of videos, which needs a further library."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        self.image_token, self.image_token_id = tokenizer.image_token, tokenizer.image_token_id
        self.video_token, self.video_token_id = tokenizer.video_token, tokenizer.video_token_id
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def qwen2_5_vl() -> ProcessorMixin:
    special = {"video_token": ("<|video_pad|>", 301), "start_token": ("<|vision_start|>", 302)}
    words = tokenizer(IMAGE, "<|image_pad|>", **special)
    pictures = Qwen2VLImageProcessorPil(min_pixels=28 * 28 * 4, max_pixels=28 * 28 * 40, patch_size=14, merge_size=2)
    return ImagesOnly(pictures, words, chat_template=template("<|vision_start|> <|image_pad|>"))


BUILT: dict[str, Callable[[], ProcessorMixin]] = PROCESSORS | {
    "llava_next": llava_next,
    "qwen2_vl": qwen2_5_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen2_5_vl,
    "smolvlm": PROCESSORS["idefics3"],
}
"""Processor by family; relatives share one."""
SEVERAL_GRIDS = ("llava_next", "qwen2_5_vl", "mllama")
RELATIVES = ("qwen2_vl", "qwen3_vl")


@functools.cache
def vlm_of(family: str) -> Vlm:
    """Shared: leave it as it was."""
    models = {entry.name: entry.model for entry in FAMILIES} | {"mllama": beside.model}
    return wrap(models[family]().eval(), BUILT[family](), id=f"tiny {family}")
