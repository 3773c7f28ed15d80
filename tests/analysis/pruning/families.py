"""Tiny models of every family, with random weights, and batches of prompts about given images.

A new family is one entry of FAMILIES. Sizes: vocabulary 320, hidden size 64, four layers, two query heads per key head.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    GemmaConfig,
    Idefics3Config,
    InternVLConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaNextConfig,
    LlavaOnevisionConfig,
    PaliGemmaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen3VLConfig,
    SiglipVisionConfig,
    SmolVLMConfig,
)

VOCABULARY, IMAGE, VIDEO = 320, 300, 301
PROMPTS: tuple[tuple[int, ...], ...] = ((0, 1), (), (2,))
"""Per prompt the numbers of its images."""

Arguments = dict[str, Any]


def text_sizes(**more: Any) -> Arguments:
    """Sizes of every language model here."""
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4}
    return (
        {"vocab_size": VOCABULARY, "num_key_value_heads": 2, "max_position_embeddings": 4096} | special | sizes | more
    )


def vision_sizes(**more: Any) -> Arguments:
    """Sizes of a vision tower with 4 x 4 patches."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
    return sizes | {"image_size": 56, "patch_size": 14} | more


def noise(number: int, *shape: int) -> Tensor:
    """The pixels of image `number`, whatever batch it comes in."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(100 + number))


def one_picture_each(rows: Sequence[Sequence[int]], side: int = 56) -> Arguments:
    """Pixels [image, channel, y, x] for families whose images are single pictures of one size."""
    return {"pixel_values": torch.stack([noise(number, 3, side, side) for number in itertools.chain(*rows)])}


@dataclass(frozen=True, eq=False)
class Family:
    """How to build a tiny model of a family, and prompts for it.

    Parameters
    ----------
    name
        Name in test ids.
    config
        Makes the configuration.
    images
        Vision arguments of the model for prompts with images of these numbers, row by row; only asked if there are any.
    by_column
        Arguments with an entry per column, from the ids and how many of the last columns the model wrote itself.
    around
        Ids before and after an image.
    cacheless
        Whether the stock `generate` without a cache computes the same as with one.
    fused
        Whether the family has fused attention; eager attention takes its place.
    refuses
        Pruners that need what the family lacks: name and what the error says.
    """

    name: str
    config: Callable[[], PreTrainedConfig]
    images: Callable[[Sequence[Sequence[int]]], Arguments] = one_picture_each
    by_column: Callable[[Tensor, int], Arguments] = lambda ids, written: {}
    around: tuple[int, int] = (302, 303)
    cacheless: bool = True
    fused: bool = True
    refuses: dict[str, str] = field(default_factory=dict)

    @functools.cache  # noqa: B019  # the entries of FAMILIES live as long as the process
    def model(self, attention: str = "sdpa") -> PreTrainedModel:
        """The model with the same weights for every implementation of attention. Shared: leave it as it was."""
        torch.manual_seed(0)
        attention = attention if self.fused else "eager"
        model: Any = AutoModelForImageTextToText.from_config(self.config(), attn_implementation=attention)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.ndim >= 2 and not weight.any():  # a fresh Gemma 3 hides its images
                    weight.normal_(std=0.05)
                if weight.ndim >= 2:  # fresh weights attend almost evenly
                    weight.mul_(12 if any(part in name for part in ("q_proj", "k_proj", "qkv")) else 3)
        generation = model.generation_config
        generation.eos_token_id, generation.pad_token_id = None, 0  # answers of a fixed length say more
        generation.suppress_tokens = [*range(IMAGE, VOCABULARY)]  # a written placeholder would ask for another image
        return model.eval()

    @functools.cache  # noqa: B019
    def tokens(self, number: int) -> int:
        """Placeholders that image `number` needs, as the stock model encodes it."""
        base: Any = self.model().base_model
        with torch.no_grad():
            pooled = base.get_image_features(**self.images([[number]]), return_dict=True).pooler_output
        return sum(part.numel() // part.shape[-1] for part in pooled)

    @functools.cache  # noqa: B019
    def prompt(self, number: int) -> list[int]:
        """Ids of prompt `number`: words before, between and after its images."""
        words = torch.Generator().manual_seed(number)

        def some(count: int) -> list[int]:
            return torch.randint(5, 290, (count,), generator=words).tolist()

        ids = [1, *some(4 + 2 * number)]
        for image in PROMPTS[number]:
            ids += [self.around[0], *[IMAGE] * self.tokens(image), self.around[1], *some(3)]
        return ids + some((6, 9, 7)[number])

    def batch(self, *prompts: int, words: Sequence[int] = ()) -> Arguments:
        """Arguments of the model for these prompts, padded on the left, `words` appended to each."""
        rows = [[*self.prompt(number), *words] for number in prompts]
        longest = max(map(len, rows))
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        images = [PROMPTS[number] for number in prompts]
        pixels = self.images(images) if any(images) else {}
        return {"input_ids": ids, "attention_mask": mask, **pixels, **self.by_column(ids, len(words))}


def llava() -> PreTrainedConfig:
    return LlavaConfig(
        vision_config=CLIPVisionConfig(**vision_sizes(projection_dim=32)),
        text_config=LlamaConfig(**text_sizes()),
        image_token_id=IMAGE,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )


def llava_siglip() -> PreTrainedConfig:
    return LlavaConfig(
        vision_config=SiglipVisionConfig(**vision_sizes(vision_use_head=False)),
        text_config=LlamaConfig(**text_sizes()),
        image_token_id=IMAGE,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )


PINPOINTS = [[56, 112], [112, 56], [112, 112]]
SIZES = ((100, 60), (56, 112), (90, 110))
"""Height and width of each image, cut into two or four crops."""


def crops(rows: Sequence[Sequence[int]]) -> Arguments:
    """Pixels [image, picture, channel, y, x], as many pictures as the image with most crops needs."""
    images = list(itertools.chain(*rows))
    pixels = torch.stack([noise(image, 5, 3, 56, 56) for image in images])
    return {"pixel_values": pixels, "image_sizes": torch.tensor([SIZES[image] for image in images])}


def llava_next() -> PreTrainedConfig:
    return LlavaNextConfig(
        vision_config=CLIPVisionConfig(**vision_sizes(projection_dim=32)),
        text_config=LlamaConfig(**text_sizes()),
        image_token_index=IMAGE,
        image_grid_pinpoints=PINPOINTS,
    )


def llava_onevision() -> PreTrainedConfig:
    return LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**vision_sizes(vision_use_head=False)),
        text_config=Qwen2Config(**text_sizes()),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=PINPOINTS,
    )


QWEN_SIZES: Arguments = {"num_heads": 4, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}
QWEN_GRIDS = ((4, 6), (6, 6), (10, 8))
"""Rows and columns of patches of each image; four patches make a token."""


def qwen_text(head: int | None = None, **rope: Any) -> Arguments:
    parameters = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0} | rope
    return text_sizes(rope_parameters=parameters) | ({} if head is None else {"head_dim": head})


def qwen_ids() -> Arguments:
    return {"image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": 302, "vision_end_token_id": 303}


def qwen2_vl() -> PreTrainedConfig:
    vision = {"depth": 3, "embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2} | QWEN_SIZES
    return Qwen2VLConfig(vision_config=vision, text_config=qwen_text(), **qwen_ids())


def qwen2_5_vl() -> PreTrainedConfig:
    """Windows of 2 x 2 tokens, which no image fills; every other block sees all of an image."""
    vision = {"depth": 4, "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 64} | QWEN_SIZES
    windows = {"window_size": 56, "fullatt_block_indexes": [1, 3]}
    return Qwen2_5_VLConfig(vision_config=vision | windows, text_config=qwen_text(), **qwen_ids())


def qwen3_vl() -> PreTrainedConfig:
    """Features of three depths of the encoder, added after the first three layers of the language model."""
    vision = {"depth": 4, "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 64} | QWEN_SIZES
    depths = {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1, 2]}
    text = qwen_text(head=16, mrope_interleaved=True)
    return Qwen3VLConfig(vision_config=vision | depths, text_config=text, **qwen_ids())


def patches(rows: Sequence[Sequence[int]]) -> Arguments:
    """Pixels [patch, value] of images of several sizes."""
    images = list(itertools.chain(*rows))
    pixels = [noise(image, QWEN_GRIDS[image][0] * QWEN_GRIDS[image][1], 3 * 2 * 14 * 14) for image in images]
    grids = [(1, *QWEN_GRIDS[image]) for image in images]
    return {"pixel_values": torch.cat(pixels), "image_grid_thw": torch.tensor(grids)}


def image_or_not(ids: Tensor, written: int) -> Arguments:
    return {"mm_token_type_ids": (ids == IMAGE).int()}


def internvl() -> PreTrainedConfig:
    """Two by two of six by six patches make a token."""
    vision = vision_sizes(image_size=[84, 84], patch_size=[14, 14], num_hidden_layers=3)
    text = Qwen2Config(**text_sizes())
    return InternVLConfig(vision_config=vision, text_config=text, image_token_id=IMAGE, downsample_ratio=0.5)


def gemma3() -> PreTrainedConfig:
    """Two by two of six by six patches make a token; every other layer of the language model has a window."""
    layers = ["sliding_attention", "full_attention"] * 2
    return Gemma3Config(
        vision_config=SiglipVisionConfig(**vision_sizes(vision_use_head=False, image_size=84)),
        text_config=Gemma3TextConfig(**text_sizes(head_dim=16, sliding_window=512, layer_types=layers)),
        mm_tokens_per_image=9,
        image_token_id=IMAGE,
        boi_token_id=304,
        eoi_token_id=305,
    )


def paligemma(text: type[PreTrainedConfig] = GemmaConfig, **more: Any) -> PreTrainedConfig:
    return PaliGemmaConfig(
        vision_config=SiglipVisionConfig(**vision_sizes(vision_use_head=False)),
        text_config=text(**text_sizes(head_dim=16, **more)),
        projection_dim=64,
        image_token_id=IMAGE,
    )


def paligemma2() -> PreTrainedConfig:
    """Every other layer of the language model has a window; logits are those of the output embedding."""
    layers = ["sliding_attention", "full_attention"] * 2
    sizes = {"sliding_window": 512, "layer_types": layers, "query_pre_attn_scalar": 16}
    return paligemma(Gemma2Config, final_logit_softcapping=None, **sizes)


def idefics3(kind: type[PreTrainedConfig] = Idefics3Config) -> PreTrainedConfig:
    """Two by two of six by six patches make a token."""
    vision = vision_sizes(image_size=84, num_hidden_layers=3)
    text = LlamaConfig(**text_sizes())
    return kind(vision_config=vision, text_config=text, image_token_id=IMAGE, scale_factor=2, pad_token_id=0)


def filled_up(rows: Sequence[Sequence[int]]) -> Arguments:
    """Pixels [prompt, image, channel, y, x], zeros where a prompt has fewer images than another."""
    pixels = torch.zeros(len(rows), max(map(len, rows)), 3, 84, 84)
    for row, images in enumerate(rows):
        for place, number in enumerate(images):
            pixels[row, place] = noise(number, 3, 84, 84)
    return {"pixel_values": pixels}


def image_types(ids: Tensor, written: int) -> Arguments:
    return {"token_type_ids": (ids == IMAGE).long()}


def prefix_types(ids: Tensor, written: int) -> Arguments:
    """0 in the prompt, which attends in both directions, 1 for what the model wrote."""
    columns = torch.arange(ids.shape[1]) >= ids.shape[1] - written
    return {"token_type_ids": columns.long().expand_as(ids)}


tiles_of_84 = functools.partial(one_picture_each, side=84)
PATCHES_MERGED = {"tome": "needs blocks like those of CLIP, pictures of one size and a token for each patch"}

FAMILIES: tuple[Family, ...] = (
    Family("llava", llava),
    Family("llava_siglip", llava_siglip),
    Family("llava_next", llava_next, crops),
    Family("llava_onevision", llava_onevision, crops),
    Family("qwen2_vl", qwen2_vl, patches, image_or_not),
    Family("qwen2_5_vl", qwen2_5_vl, patches, image_or_not),
    Family("qwen3_vl", qwen3_vl, patches, image_or_not),
    Family("internvl", internvl, tiles_of_84, refuses=PATCHES_MERGED),
    Family("gemma3", gemma3, tiles_of_84, image_types, (304, 305), refuses=PATCHES_MERGED),
    Family("paligemma", paligemma, by_column=prefix_types),
    Family("paligemma2", paligemma2, by_column=prefix_types, fused=False),
    Family("idefics3", idefics3, filled_up, refuses=PATCHES_MERGED),
    Family("smolvlm", functools.partial(idefics3, SmolVLMConfig), filled_up, refuses=PATCHES_MERGED),
)
