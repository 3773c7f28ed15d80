"""Models to count: published ones by name, whose configurations are in the package, and loaded ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel

from analysis.models import Vlm, adapter_for
from solvers.names import nearest, unknown

from . import images
from .architecture import Architecture, Encoding
from .modules import of_model

SHIPPED = ("llava-1.5-7b", "llava-1.5-13b", "llava-next-7b", "qwen2.5-vl-7b")
"""Names of the configurations; each is a file `configurations/<name>.json`, which says where its numbers come from."""


@dataclass(frozen=True)
class Family:
    """Models of one `config.model_type`.

    Parameters
    ----------
    model_type
        The type; `analysis.models` has an adapter for it.
    encoding
        What becomes of an image: a function of configuration, size in pixels, and whether padding is cut away.
    """

    model_type: str
    encoding: Callable[[Any, images.Size, bool], Encoding]


FAMILIES = (
    Family("llava", images.llava),
    Family("llava_next", images.llava_next),
    Family("qwen2_5_vl", images.qwen2_5_vl),
)


def configuration(name: str) -> dict[str, Any]:
    """The shipped file: keys name, checkpoint (hub id), image (height and width by default), sources, config.

    Raises
    ------
    KeyError
        If there is none of that name; the nearest is suggested.
    """
    nearest(name, SHIPPED, "model")
    text = resources.files(__package__).joinpath("configurations", f"{name}.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def architecture(name: str, *, image: images.Size | None = None, unpad: bool = False) -> Architecture:
    """A published model, read off the stock classes on the meta device: in half precision, without memory for weights.

    Parameters
    ----------
    name
        One of `SHIPPED`.
    image
        Height and width in pixels; by default those in the configuration: 336 x 336 for LLaVA-1.5, which brings every
        image to that size, and 672 x 672 for LLaVA-NeXT (2880 visual tokens) and Qwen2.5-VL (576).
    unpad
        LLaVA-NeXT only: newline tokens and no padding, as in the stock Hugging Face forward, instead of whole crops
        without newlines, as in published tables.

    Raises
    ------
    KeyError
        If the name is unknown; the nearest is suggested.
    ValueError
        If `image` is not a height and a width of at least one pixel, or too narrow for the model.

    Examples
    --------
    >>> architecture("llava-next-7b").visual, architecture("llava-next-7b", unpad=True).visual
    (2880, 2928)
    """
    default = configuration(name)["image"]
    model = _on_meta(name)
    encoding = _family(model).encoding(model.config, _size(image or default), unpad)
    return of_model(name, model, adapter_for(model), encoding)


def of_vlm(vlm: Vlm, image: images.Size | None = None) -> Architecture:
    """A loaded model, asked about one picture of its encoder; or, where the tokens depend on it, about an image.

    An image of `image` (height, width) pixels is taken as in the stock forward: newlines, no padding, and the pixel
    limits that transformers has by default.

    Raises
    ------
    ValueError
        If the number of visual tokens depends on the image and `image` is not given, or is none; or if the family is
        not one of `FAMILIES`.
    """
    model, adapter = vlm.model, vlm.adapter
    if adapter.fixed_grid:
        tokens, together = adapter.tokens(model), adapter.patches_of_tokens(model)
        encoding = images.pictures(
            patches=tokens if together is None else together.numel(),
            blocks=len(adapter.vision_layers(model)),
            projected=tokens,
            has_cls=adapter.has_cls,
        )
    elif image is None:
        raise ValueError(f"the visual tokens of {vlm.id!r} depend on the image: `image` must be its height and width")
    else:
        encoding = _family(model).encoding(model.config, _size(image), True)
    return of_model(vlm.id, model, adapter, encoding)


def _family(model: PreTrainedModel) -> Family:
    known = {family.model_type: family for family in FAMILIES}
    model_type = model.config.model_type
    if model_type not in known:
        raise ValueError(unknown(model_type, known, "model type to count"))
    return known[model_type]


def _size(image: Any) -> images.Size:
    size = tuple(image)
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"`image` must be a height and a width of at least 1 pixel, got {image!r}")
    return size


@lru_cache(maxsize=len(SHIPPED))
def _on_meta(name: str) -> PreTrainedModel:
    fields = dict(configuration(name)["config"])
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    return model
