"""The embedded model, and the forward pass that trains it: windows of the grid, questions packed behind one image."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    SiglipVisionConfig,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from .batches import IGNORE, KINDS, TOTALS, Batch
from .scene import GRID, PATCH
from .vocabulary import BOS, COLOR_NAMES, EOS, IMAGE, PAD, TOKEN, WORDS

PREFIX = (TOKEN[BOS], TOKEN["USER:"])
MEAN, STD = 0.5, 0.25
_CENTRE = (GRID - 1) / 2
_SPREAD = GRID / 12**0.5  # standard deviation of a uniform position


@dataclass(frozen=True)
class Size:
    """Vision tower, widths and depths; the default is the embedded model, `tower="siglip"` its sibling without CLS.

    With `tiles` above 1 the picture is seen as so many crops in each direction and once more as a whole: see `tiled`.
    """

    vision_width: int = 128
    vision_layers: int = 5
    vision_heads: int = 4
    text_width: int = 128
    text_layers: int = 6
    text_heads: int = 4
    tower: Literal["clip", "siglip"] = "clip"
    tiles: int = 1


def build_model(size: Size) -> LlavaForConditionalGeneration:
    """A stock LLaVA with random weights: 24 x 24 tokens of layer -2 of the vision tower, Llama with RoPE.

    The tower is CLIP's, with CLS, or SigLIP's, without CLS and without the head that LLaVA has no use for.
    """
    has_cls = size.tower == "clip"
    config = LlavaConfig(
        vision_config=vision_config(size),
        text_config=text_config(size),
        image_token_index=TOKEN[IMAGE],
        vision_feature_layer=-2,
        vision_feature_select_strategy="default" if has_cls else "full",
        image_seq_length=GRID**2,
    )
    return LlavaForConditionalGeneration(config)


def vision_config(size: Size) -> CLIPVisionConfig | SiglipVisionConfig:
    """The tower of a picture, or of a crop of it."""
    common: dict[str, Any] = {
        "hidden_size": size.vision_width,
        "intermediate_size": 4 * size.vision_width,
        "num_hidden_layers": size.vision_layers,
        "num_attention_heads": size.vision_heads,
        "image_size": GRID * PATCH // size.tiles,
        "patch_size": PATCH,
    }
    if size.tower == "siglip":
        return SiglipVisionConfig(**common, vision_use_head=False)
    return CLIPVisionConfig(**common, projection_dim=64)


def text_config(size: Size) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=size.text_width,
        intermediate_size=size.text_width * 8 // 3 // 32 * 32,
        num_hidden_layers=size.text_layers,
        num_attention_heads=size.text_heads,
        num_key_value_heads=size.text_heads,
        vocab_size=len(WORDS),
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        bos_token_id=TOKEN[BOS],
        eos_token_id=TOKEN[EOS],
        pad_token_id=TOKEN[PAD],
    )


def pixel_values(images: Tensor) -> Tensor:
    """What the processor makes of images uint8 [image, y, x, rgb]: float32 [image, rgb, y, x]."""
    return (images.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def scaled(position: Tensor) -> Tensor:
    """Rows and columns of the full grid with mean 0 and variance 1, as the heads say them."""
    return (position - _CENTRE) / _SPREAD


def _sdpa_in_float32(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """Stock SDPA attention kept in float32 under autocast: on a CPU its float32 kernel is the faster one."""
    with torch.autocast(query.device.type, enabled=False):
        out, weights = sdpa_attention_forward(module, query.float(), key.float(), value.float(), mask, **options)
    return out.to(query.dtype), weights


AttentionInterface.register("sdpa_float32", _sdpa_in_float32)


@dataclass(frozen=True)
class Weights:
    """How much each loss counts; 0 leaves its part of the model out of the step."""

    dense: float = 1.0
    position: float = 1.0
    totals: float = 5.0
    answer: float = 1.0
    named: float = 0.5


class Trainee(nn.Module):
    """The model with the heads that only training needs.

    Parameters
    ----------
    model : the stock model; its own modules do all the work, so nothing here can drift from what is exported
    grounding_layer : text layer whose output must know where a named item lies
    """

    def __init__(self, model: LlavaForConditionalGeneration, grounding_layer: int = 3) -> None:
        super().__init__()
        self.model = model
        self.grounding_layer = grounding_layer
        self.has_cls = model.config.vision_feature_select_strategy == "default"
        vision, text = model.config.vision_config, model.config.text_config
        width: int = vision.hidden_size  # type: ignore[union-attr]
        self.kind = nn.Linear(width, KINDS)
        self.color = nn.Linear(width, 1 + len(COLOR_NAMES))
        self.digit = nn.Linear(width, 11)
        self.position = nn.Linear(width, 2)
        self.totals = nn.Linear(width, TOTALS)
        self.named = nn.Linear(text.hidden_size, 2)  # type: ignore[union-attr]
        self.anchor = nn.Linear(width, 1)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        for name, p in self.model.named_parameters():
            if p.ndim >= 2 and "norm" not in name:
                nn.init.normal_(p, std=0.02 if "embed" in name else 0.7 * p[0].numel() ** -0.5)
        nn.init.normal_(self.model.model.language_model.embed_tokens.weight, std=0.5)
        self.model.lm_head.weight.mul_(0.2)
        # sine-cosine start of the learnt position table: neighbours are alike from the first step on
        table = self.model.model.vision_tower.embeddings.position_embedding.weight
        side, quarter = math.isqrt(len(table)), table.shape[1] // 4
        phase = torch.arange(side)[:, None] / 30 ** (torch.arange(quarter) / quarter)
        wave = torch.cat([phase.sin(), phase.cos()], 1)
        rows, cols = wave.repeat_interleave(side, 0), wave.repeat(side, 1)
        table[len(table) - side**2 :] = 0.5 * torch.cat([rows, cols], 1)

    def see(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Patch features of layer -2 [image, token, width] and the states of the pictures that the tower sees of an
        image [image, picture, width], here one: the final CLS state, or the mean of the final states without CLS."""
        features, whole = self._encode(self._embed(batch))
        return features, whole[:, None]

    def _encode(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Features of layer -2 [picture, token, width] and the state of each whole picture [picture, width]."""
        tower = self.model.model.vision_tower
        states = [hidden]
        for layer in tower.encoder.layers:
            hidden = layer(hidden, attention_mask=None)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
            states.append(hidden)
        if self.has_cls:
            return states[-2][:, 1:], tower.post_layernorm(hidden[:, 0])
        return states[-2], tower.post_layernorm(hidden).mean(1)

    def _embed(self, batch: Batch) -> Tensor:
        """What the first block of the tower receives [image, token, width]: each patch at its place in the full grid,
        behind the CLS token if there is one."""
        tower = self.model.model.vision_tower
        embed = tower.embeddings
        patches = embed.patch_embedding(pixel_values(batch.images)).flatten(2).transpose(1, 2)
        positions = embed.position_embedding.weight
        if not self.has_cls:
            states: Tensor = patches + positions[batch.index]
            return states
        cls = embed.class_embedding.expand(len(patches), 1, -1)
        at = torch.cat([batch.index.new_zeros(len(patches), 1), batch.index + 1], 1)
        states = tower.pre_layrnorm(torch.cat([cls, patches], 1) + positions[at])
        return states

    def read(self, features: Tensor, batch: Batch, *, renumber: bool) -> tuple[Tensor, Tensor]:
        """Hidden states [image, question, word, width]: the last ones, and those of the grounding layer.

        Every question sees the image and itself, at the position ids it would have alone, so that one pass equals a
        pass per question. The image is its kept tokens; `renumber` gives them consecutive ids, as a pruner with
        compact ids does.
        """
        images, count, length = batch.tokens.shape
        language = self.model.model.language_model
        device = features.device
        visual, places, placeholders = self._visual(features, batch)
        if renumber:
            placeholders = visual.shape[1]
            places = torch.arange(placeholders, device=device).expand(images, -1)
        prefix = language.embed_tokens(torch.tensor(PREFIX, device=device)).expand(images, -1, -1)
        words = language.embed_tokens(batch.tokens.reshape(images, -1))
        inputs = torch.cat([prefix, visual.to(prefix.dtype), words], 1)
        shared, tokens = len(PREFIX) + visual.shape[1], inputs.shape[1]
        own = torch.arange(length, device=device).repeat(count) + len(PREFIX) + placeholders
        ids = torch.cat(
            [
                torch.arange(len(PREFIX), device=device).expand(images, -1),
                places + len(PREFIX),
                own.expand(images, -1),
            ],
            1,
        )
        block = torch.full((tokens,), -1, device=device)
        block[shared:] = torch.arange(count, device=device).repeat_interleave(length)
        order = torch.arange(tokens, device=device)
        visible = (order[:, None] >= order) & ((block == -1) | (block[:, None] == block))
        mask = torch.zeros(tokens, tokens, device=device).masked_fill(~visible, -1e9)[None, None]
        out = language(
            inputs_embeds=inputs,
            attention_mask=mask,
            position_ids=ids,
            use_cache=False,
            output_hidden_states=True,
        )
        last, middle = out.last_hidden_state, out.hidden_states[self.grounding_layer]
        return tuple(h[:, shared:].reshape(images, count, length, -1) for h in (last, middle))

    def _visual(self, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor, int]:
        """What the language model gets of an image after pruning [image, token, width], the place of each token among
        the placeholders, ascending [image, token], and how many placeholders there are."""
        kept = features.gather(1, batch.kept[..., None].expand(-1, -1, features.shape[-1]))
        return self.model.model.multi_modal_projector(kept), batch.index.gather(1, batch.kept), GRID**2

    def forward(self, batch: Batch, weights: Weights, *, renumber: bool = False) -> tuple[dict[str, Tensor], Tensor]:
        """Losses by name (with their weighted sum as "loss") and, per question, whether every answer token is right."""
        features, whole = self.see(batch)
        losses: dict[str, Tensor] = {}
        if weights.dense:
            losses["dense"] = self._dense_loss(features, batch)
        if weights.position:
            losses["position"] = self._position_loss(features, batch)
        if weights.totals:
            losses["totals"] = F.binary_cross_entropy_with_logits(
                self.totals(whole).amax(1).float(),  # in the whole is what is in any of the pictures
                batch.totals,
            )
        right = torch.zeros(batch.task.shape, dtype=torch.bool, device=features.device)
        if weights.answer and batch.tokens.shape[1]:
            last, middle = self.read(features, batch, renumber=renumber)
            asked = batch.targets != IGNORE
            logits = self.model.lm_head(last[asked]).float()
            losses["answer"] = F.cross_entropy(logits, batch.targets[asked])
            hit = torch.ones_like(asked)
            hit[asked] = logits.argmax(-1) == batch.targets[asked]
            right = hit.all(-1)
            known = ~batch.named[..., 0].isnan()
            if weights.named and known.any():
                aim = scaled(batch.named[known] - 0.5)
                losses["named"] = F.smooth_l1_loss(self.named(middle[known]).float(), aim)
        losses["loss"] = sum((asdict(weights)[name] * loss for name, loss in losses.items()), torch.zeros(()))
        return losses, right

    def _dense_loss(self, features: Tensor, batch: Batch) -> Tensor:
        total = features.new_zeros(())
        marks = self.anchor(features)[..., 0].float()
        total = total + 10 * F.binary_cross_entropy_with_logits(marks, batch.anchor)
        for head, labels in ((self.kind, batch.kind), (self.color, batch.color), (self.digit, batch.digit)):
            weight = torch.ones(head.out_features, device=features.device)
            weight[0] = 0.15  # background is nearly everywhere
            total = total + F.cross_entropy(head(features).float().flatten(0, 1), labels.flatten(), weight=weight)
        return total

    def _position_loss(self, features: Tensor, batch: Batch) -> Tensor:
        """Keeps "where" linearly readable: the dense losses alone say only "what" and erase it."""
        aim = scaled(torch.stack([batch.index // GRID, batch.index % GRID], -1).float())
        weight = torch.where(batch.kind > 0, 1.0, 0.15)
        error = (self.position(features).float() - aim).pow(2).mean(-1)
        result: Tensor = (error * weight).sum() / weight.sum()
        return result
