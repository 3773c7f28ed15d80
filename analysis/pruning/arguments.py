"""What the hooks of a pruned model read in the arguments of a call, and what they refuse."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel, StaticCache

from analysis.models import AbstractAdapter

from .shadowing import shadowed

Options = dict[str, Any]


@dataclass(frozen=True)
class Prefill:
    """A batch of prompts as the base model receives it.

    Attributes
    ----------
    input_ids
        [prompt, column].
    image
        bool [prompt, column], True at the placeholders.
    valid
        bool [prompt, column], False on padding; None means that there is none.
    given
        Encoded images, if they come with the prompts; otherwise the call encodes them.
    """

    input_ids: Tensor
    image: Tensor
    valid: Tensor | None
    given: list[Tensor] | None


def named_arguments(module: nn.Module, args: tuple[Any, ...], options: Options) -> Options:
    """All arguments of a forward call by name."""
    bound = inspect.signature(module.forward).bind(*args, **options).arguments
    extra = bound.pop("kwargs", {})
    return {**bound, **extra}


def refuse_labels(model: nn.Module, args: tuple[Any, ...], options: Options) -> None:
    """A pre-hook of the model with its head."""
    if named_arguments(model, args, options).get("labels") is not None:
        raise ValueError(
            "`labels` cannot be aligned with the shortened sequence of a pruned model: leave them out and score "
            "the last n tokens from the right, logits[:, -n - 1 : -1]"
        )


@contextmanager
def whole_prompts(model: PreTrainedModel, adapter: AbstractAdapter) -> Iterator[None]:
    """Inside, `generate` refuses prompts with images that it would hand over in chunks.

    What comes with a filled cache looks like the next turn of a conversation, so a chunk could not be told from it: a
    pruner that reads the question would read its beginning.
    """

    def refusing(stock: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(stock)
        def prefill(input_ids: Tensor, generation_config: Any, *others: Any, **named: Any) -> Any:
            size = generation_config.prefill_chunk_size
            if size is not None and size < input_ids.shape[1] and (input_ids == adapter.image_token_id(model)).any():
                raise ValueError(
                    f"`prefill_chunk_size` must be None or at least {input_ids.shape[1]}, the length of the prompt, "
                    f"while pruning, got {size}: prompts must come whole"
                )
            return stock(input_ids, generation_config, *others, **named)

        return prefill

    if hasattr(model, "_prefill"):  # a base model without a head cannot generate
        with shadowed(model, "_prefill", refusing):
            yield
    else:
        yield


def seen_prompts(
    model: PreTrainedModel, adapter: AbstractAdapter, named: Mapping[str, Any], past: int
) -> Prefill | None:
    """The prompts of a call with `past` columns in its cache; None if it holds no image.

    Raises
    ------
    ValueError
        For what pruning cannot follow: static caches, embeddings instead of ids, ready-made masks, packed sequences,
        windows shorter than the prompt, images after a filled cache, placeholders without images, videos.
    """
    encoded = named.get("mm_encoder_outputs") or {}
    if named.get("pixel_values_videos") is not None or encoded.get("video") is not None:
        raise ValueError("videos are not supported while pruning, got `pixel_values_videos`: give images")
    if isinstance(named.get("past_key_values"), StaticCache):
        raise ValueError("static caches are not supported while pruning: their masks have the unpruned length")
    images = encoded_images(named)
    if past:
        if named.get("pixel_values") is not None or images is not None:
            raise ValueError("images must come with the first tokens of a prompt, got one after a filled cache")
        return None
    ids, mask = named.get("input_ids"), named.get("attention_mask")
    if ids is None:
        raise ValueError("`input_ids` must be given while pruning, got `inputs_embeds`: nothing marks the image")
    image = ids == adapter.image_token_id(model)
    if not image.any():
        return None
    if mask is not None and not (isinstance(mask, Tensor) and mask.ndim == 2):
        raise ValueError(
            "`attention_mask` must be [prompt, column] while pruning, got a ready-made one: own masks are not supported"
        )
    if named.get("pixel_values") is None and images is None:
        raise ValueError("the prompts hold image placeholders, got neither `pixel_values` nor encoded images")
    _refuse_packed(mask, named.get("position_ids"))
    _refuse_short_window(model, ids.shape[1])
    return Prefill(ids, image, None if mask is None else mask.bool(), images)


def encoded_images(named: Mapping[str, Any]) -> list[Tensor] | None:
    """What `generate` encoded before the first step, or None; it passes an empty dict for a prompt of text only."""
    outputs = (named.get("mm_encoder_outputs") or {}).get("image")
    return None if outputs is None else list(outputs.pooler_output)


def _refuse_packed(mask: Tensor | None, ids: Tensor | None) -> None:
    if ids is not None and ids.ndim == 3 and len(ids) == 4:
        ids = ids[0]  # those of time, row and column, which follow, need not ascend
    if mask is None and ids is not None and ids.ndim == 2 and bool((ids.diff(dim=1) < 0).any()):
        raise ValueError(
            "`position_ids` must ascend while pruning, got ids that start again: packed sequences are not supported"
        )


def _refuse_short_window(model: PreTrainedModel, length: int) -> None:
    text: Any = model.config.get_text_config()
    window = getattr(text, "sliding_window", None)
    kinds = getattr(text, "layer_types", None)
    sliding = kinds is None or "sliding_attention" in kinds  # Mistral slides in every layer and does not say so
    if sliding and window and length > window:
        raise ValueError(
            f"a prompt of {length} columns must fit into the sliding window of {window} while pruning: the window "
            "counts columns, which pruning moves"
        )
