"""One pass of the vision tower, with everything a pruner may want to know about its tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, overload

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from analysis.capture.attention_call import AttentionCall, listening
from analysis.models import AbstractAdapter, Vlm

from .tokens import VisualTokens


class Encoded(Sequence[VisualTokens]):
    """The visual tokens of a batch of images.

    Attributes
    ----------
    projected
        Tensor [image, token, hidden] on the model's device and in its dtype: feed row i, or its kept rows, to the
        language model (`inputs.assemble`). The numpy copies in the `VisualTokens` are for selection only.
    """

    def __init__(self, tokens: Iterable[VisualTokens], projected: Tensor) -> None:
        self._tokens = tuple(tokens)
        self.projected = projected

    @overload
    def __getitem__(self, index: int) -> VisualTokens: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[VisualTokens]: ...

    def __getitem__(self, index: int | slice) -> VisualTokens | Sequence[VisualTokens]:
        return self._tokens[index]

    def __len__(self) -> int:
        return len(self._tokens)


@torch.no_grad()
def encode_images(
    vlm: Vlm, pixel_values: Tensor, needs: Iterable[str] = ("features", "cls"), *, seed: int = 0
) -> Encoded:
    """Encode and project a batch of images in one pass, fused attention kernels included.

    The CLS rows are recomputed beside the pass from the input of one block (1/n of its attention); the full map of that
    block only if "attention_map" is in `needs`, or where an encoder without CLS leaves nothing else: there the mean
    attention that a token receives takes the place of the CLS row.

    Parameters
    ----------
    vlm
        The model.
    pixel_values
        [image, channel, y, x], as `vlm.prepare` makes them.
    needs
        Union of the `needs` of the pruners to come. "text" and "needed" depend on a question: add them with
        `VisualTokens.asked` and `.with_needed`.
    seed
        Seed written into the tokens, for pruners that draw.

    Raises
    ------
    ValueError
        If the features are NaN or infinite.
    """
    caught: list[Encoded] = []
    with watch(vlm.model, vlm.adapter, needs, caught.append, seed=seed):
        vlm.adapter.project(vlm.model, vlm.adapter.encode(vlm.model, pixel_values.to(vlm.device, vlm.model.dtype)))
    return caught[0]


@contextmanager
def watch(
    model: PreTrainedModel,
    adapter: AbstractAdapter,
    needs: Iterable[str],
    receive: Callable[[Encoded], Any],
    *,
    seed: int = 0,
) -> Iterator[None]:
    """Call `receive` with what each encoding of images inside the context gives; the computation is not touched."""
    with_map = "attention_map" in set(needs)
    block: Any = adapter.vision_layers(model)[adapter.feature_layer(model)]
    current: dict[str, Any] = {}

    def before_tower(_: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        current.clear()
        current["keys"] = _digests(args[0] if args else options["pixel_values"])

    def hear(module: nn.Module, call: AttentionCall) -> None:
        if module is block.self_attn:
            rows = call.mean_rows(None if with_map or not adapter.has_cls else torch.zeros(1, dtype=torch.int64))
            first = int(adapter.has_cls)
            # Without a CLS token, what each token receives on average stands in for its row, as in attention dumps.
            current["cls"] = rows[:, 0, 1:] if adapter.has_cls else rows.mean(1)
            current["map"] = rows[:, first:, first:] if with_map else None

    def after_projector(_: Any, args: tuple[Tensor, ...], projected: Tensor) -> None:
        receive(_encoded(args[0], projected, adapter.grid(model), seed=seed, **current))

    hooks = [
        adapter.vision_tower(model).register_forward_pre_hook(before_tower, with_kwargs=True),
        adapter.projector(model).register_forward_hook(after_projector),
    ]
    try:
        with listening(hear):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _encoded(
    features: Tensor,
    projected: Tensor,
    grid: tuple[int, int],
    *,
    keys: list[str],
    cls: Tensor,
    map: Tensor | None,
    seed: int,
) -> Encoded:
    arrays = [part.detach().float().cpu().numpy() for part in (features, projected, cls)]
    maps = map.cpu().numpy() if map is not None else [None] * len(keys)
    tokens = (
        VisualTokens(f, p, grid, c, attention_map=m, key=key, seed=seed)
        for f, p, c, m, key in zip(*arrays, maps, keys, strict=True)
    )
    return Encoded(tokens, projected.detach())


def _digests(pixel_values: Tensor) -> list[str]:
    """Name of each image: a digest of the pixels the model sees."""
    images = pixel_values.detach().float().cpu().numpy()
    return [hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest() for image in images]
