"""A small LLaVA with random weights and a processor built in code: nothing is read from the net or the disk."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
)

from analysis.models import Vlm, wrap

TINY_WORDS = (
    *("<pad>", "<s>", "</s>", "<image>", "USER:", "ASSISTANT:", "?"),
    *("is", "there", "a", "what", "how", "many", "color", "the", "of", "on", "sign", "number"),
    *("red", "green", "blue", "circle", "square", "star", "yes", "no", *"0123456789"),
)
TINY_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def tiny_processor(grid: int, patch: int) -> LlavaProcessor:
    vocabulary = {word: index for index, word in enumerate(TINY_WORDS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
    )
    side = {"height": grid * patch, "width": grid * patch}
    pictures = CLIPImageProcessorPil(
        size=side, crop_size=side, image_mean=[0.5] * 3, image_std=[0.25] * 3, do_center_crop=False
    )
    return LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TINY_TEMPLATE,
    )


def build_tiny_vlm(
    *, grid: int = 6, vision_layers: int = 3, text_layers: int = 3, heads: int = 4, key_heads: int = 4, seed: int = 0
) -> Vlm:
    """Random LLaVA: `grid` x `grid` tokens, width 32, attention sharpened so that it is not nearly uniform."""
    torch.manual_seed(seed)
    patch, width = 4, 32
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=vision_layers,
        num_attention_heads=heads,
        image_size=grid * patch,
        patch_size=patch,
        projection_dim=16,
    )
    text = LlamaConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=text_layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        vocab_size=len(TINY_WORDS),
        max_position_embeddings=512,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=TINY_WORDS.index("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=grid**2,
    )
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2:
                weight.mul_(6 if "q_proj" in name or "k_proj" in name else 4)
    model.generation_config.eos_token_id = None  # answers of a fixed length say more about a random model
    model.generation_config.pad_token_id = 0
    model.generation_config.suppress_tokens = [
        TINY_WORDS.index("<image>")
    ]  # a second image is an error without a cache
    return wrap(model, tiny_processor(grid, patch), id="tiny")


@pytest.fixture(scope="session")
def tiny_vlm() -> Vlm:
    """36 visual tokens (6 x 6), 3 vision and 3 text layers. Shared: leave it as it was."""
    return build_tiny_vlm()


@pytest.fixture(scope="session")
def tiny_gqa_vlm() -> Vlm:
    """The same with two query heads per key head and 16 visual tokens."""
    return build_tiny_vlm(grid=4, key_heads=2, seed=1)


@pytest.fixture(scope="session")
def tiny_image() -> Callable[[int], Image.Image]:
    """A coloured random picture by seed."""

    def picture(seed: int) -> Image.Image:
        rng = np.random.default_rng(seed)
        return Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))

    return picture


TINY_QUESTIONS = (
    "what color is the circle ?",
    "is there a red square ?",
    "how many star is there on the green sign ?",
)


@pytest.fixture(scope="session")
def siglip_vlm(tiny_vlm: Vlm) -> Vlm:
    """16 visual tokens (4 x 4), 3 vision and 2 text layers, two query heads per key head. Shared: change nothing."""
    torch.manual_seed(2)
    grid, patch, tokenizer = 4, 4, tiny_vlm.processor.tokenizer
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    vision = SiglipVisionConfig(**sizes, num_hidden_layers=3, image_size=grid * patch, patch_size=patch)
    text = LlamaConfig(
        **sizes,
        num_hidden_layers=2,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tiny_vlm.model.config.image_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=grid**2,
    )
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2 and "vision_tower" not in name:  # SigLIP starts with sharp attention
                weight.mul_(6 if "q_proj" in name or "k_proj" in name else 4)
    processor = LlavaProcessor(
        SiglipImageProcessorPil(size={"height": grid * patch, "width": grid * patch}),
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        chat_template=tiny_vlm.processor.chat_template,
    )
    return wrap(model, processor, id="tiny siglip")
