"""Processors of several families, built in code around a tokenizer of whole words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Gemma3ImageProcessorPil,
    Gemma3Processor,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    MllamaImageProcessorPil,
    MllamaProcessor,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    SiglipImageProcessorPil,
)

IMAGE = 300
"""Id of the placeholder."""


def tokenizer(placeholder: int, image: str, **special: tuple[str, int]) -> PreTrainedTokenizerFast:
    """Words of the form w<id>; `image` has the id `placeholder`, `special` tokens are name=(text, id)."""
    texts = dict(special.values())
    words = {f"w{number}": number for number in range(3, 320) if number not in {placeholder, *texts.values()}}
    words |= {"<pad>": 0, "<s>": 1, "</s>": 2, image: placeholder} | texts
    built = Tokenizer(models.WordLevel(words, unk_token="w9"))
    built.pre_tokenizer = pre_tokenizers.Whitespace()
    named = {"image_token": image} | {name: text for name, (text, _) in special.items()}
    ends = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=built, **ends, extra_special_tokens=named, padding_side="left", model_max_length=4096
    )


def template(start: str) -> str:
    """A chat template with `start` for an image."""
    return (
        "{% for message in messages %}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}" + start + " {% else %}{{ part['text'] }} {% endif %}"
        "{% endfor %}{% endfor %}w7"
    )


def square(side: int) -> dict[str, Any]:
    return {"size": {"height": side, "width": side}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}


def gemma3() -> ProcessorMixin:
    words = tokenizer(IMAGE, "<image_soft_token>", boi_token=("<start_of_image>", 304), eoi_token=("<end>", 305))
    pictures = Gemma3ImageProcessorPil(**square(84), image_seq_length=9)
    return Gemma3Processor(pictures, words, chat_template=template("<start_of_image>"), image_seq_length=9)


def paligemma() -> ProcessorMixin:
    pictures = SiglipImageProcessorPil(**square(56))
    pictures.image_seq_length = 16
    return PaliGemmaProcessor(pictures, tokenizer(IMAGE, "<image>"), chat_template=template("<image>"))


def idefics3() -> ProcessorMixin:
    around = {"fake_image_token": ("<fake_token_around_image>", 302), "global_image_token": ("<global-img>", 303)}
    sides = {"size": {"longest_edge": 84}, "max_image_size": {"longest_edge": 84}}
    pictures = Idefics3ImageProcessorPil(do_image_splitting=False, **sides)
    words = tokenizer(IMAGE, "<image>", **around, end_of_utterance_token=("<end_of_utterance>", 304))
    return Idefics3Processor(pictures, words, image_seq_len=9, chat_template=template("<image>"))


def mllama() -> ProcessorMixin:
    pictures = MllamaImageProcessorPil(**square(56), max_image_tiles=4)
    return MllamaProcessor(pictures, tokenizer(290, "<|image|>"), chat_template=template("<|image|>"))


PROCESSORS: dict[str, Callable[[], ProcessorMixin]] = {
    "gemma3": gemma3,
    "paligemma": paligemma,
    "idefics3": idefics3,
    "mllama": mllama,
}
