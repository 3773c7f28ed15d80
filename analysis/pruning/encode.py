"""One pass of the vision tower, with everything a pruner may want to know about its tokens."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from analysis.capture.attention_call import AttentionCall, listening
from analysis.models import AbstractAdapter, Vlm
from analysis.models.layout import ImageLayout
from solvers.arrays import IntArray

from .arguments import named_arguments
from .attention_evidence import AttentionEvidence, of_tile
from .encoder_merging import EncoderMerging
from .tokens import VisualTokens


@dataclass(frozen=True, eq=False)
class Encoded(Sequence[VisualTokens]):
    """The visual tokens of a batch of images, picture by picture: an entry per tile, in the order of the encoder.

    Attributes
    ----------
    layouts
        Per image, which tiles it consists of and how many placeholders it has.
    projected
        Per image a tensor [token, hidden] on the model's device and in its dtype, in the order of the placeholders:
        feed it, or its kept rows, to the language model (`inputs.assemble`). The numpy copies in the `VisualTokens` are
        for selection only.
    features
        Per tile a tensor [token, dim] on the model's device: what the projector received.
    """

    tokens: tuple[VisualTokens, ...]
    layouts: tuple[ImageLayout, ...]
    projected: tuple[Tensor, ...]
    features: tuple[Tensor, ...]

    @overload
    def __getitem__(self, index: int) -> VisualTokens: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[VisualTokens]: ...

    def __getitem__(self, index: int | slice) -> VisualTokens | Sequence[VisualTokens]:
        return self.tokens[index]

    def __len__(self) -> int:
        return len(self.tokens)


@torch.no_grad()
def encode_images(
    vlm: Vlm, pixel_values: Tensor, needs: Iterable[str] = ("features", "cls"), *, seed: int = 0, **sizes: Any
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
        Pixels as `vlm.prepare` makes them, [image, channel, y, x] for most families.
    needs
        Union of the `needs` of the pruners to come. "text" and "needed" depend on a question: add them with
        `VisualTokens.asked` and `.with_needed`.
    seed
        Seed written into the tokens, for pruners that draw.
    **sizes
        What else the family's `get_image_features`, or its encoder, takes: `image_sizes`, `image_grid_thw`.

    Raises
    ------
    ValueError
        If the features are NaN or infinite.
    """
    caught: list[Encoded] = []
    pixels = {"pixel_values": pixel_values.to(vlm.device, vlm.model.dtype)}
    with watch(vlm.model, vlm.adapter, needs, caught.append, seed=seed):
        vlm.adapter.run_encoder(vlm.model, pixels | sizes)
    return caught[0]


@contextmanager
def watch(
    model: PreTrainedModel,
    adapter: AbstractAdapter,
    needs: Iterable[str],
    receive: Callable[[Encoded], Any],
    *,
    seed: int = 0,
    merging: EncoderMerging | None = None,
) -> Iterator[None]:
    """Call `receive` with what each encoding of images inside the context gives; the computation is not touched.

    Unless the encoder itself is to merge tokens, by `merging`.
    """
    wanted = frozenset(needs)
    if adapter.cross_attention:
        with _watch_parts(model, adapter, wanted, receive, seed):
            yield
        return
    base: Any = model.base_model
    before = vars(base).get("get_image_features")
    stock = base.get_image_features

    # The library reads this method's signature, which `wraps` keeps.
    @functools.wraps(stock)
    def watched(*args: Any, **options: Any) -> Any:
        bound = inspect.signature(stock).bind(*args, **options).arguments
        inputs = {**bound, **bound.pop("kwargs", {})}
        evidence = AttentionEvidence(model, adapter, wanted)
        with merging.attached() if merging else nullcontext():
            output, features = _heard(model, adapter, evidence, lambda: stock(*args, **options))
        if hasattr(output, "pooler_output"):
            groups = merging.groups if merging else None
            with torch.no_grad():
                receive(_encoded(model, adapter, inputs, output.pooler_output, features, evidence, groups, seed))
        return output

    base.get_image_features = watched
    try:
        yield
    finally:
        if before is None:
            del base.get_image_features
        else:
            base.get_image_features = before


@contextmanager
def _watch_parts(
    model: PreTrainedModel,
    adapter: AbstractAdapter,
    wanted: frozenset[str],
    receive: Callable[[Encoded], Any],
    seed: int,
) -> Iterator[None]:
    """`watch` where no method stands for encoder and projector: from the call of one to that of the other."""
    tower, projector = adapter.vision_tower(model), adapter.projector(model)
    running: list[tuple[Mapping[str, Any], AttentionEvidence]] = []

    def before_tower(tower: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        running[:] = [(named_arguments(tower, args, options), AttentionEvidence(model, adapter, wanted))]

    def hear(module: nn.Module, call: AttentionCall) -> None:
        for _, evidence in running:
            evidence.hear(module, call)

    def after_projector(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        if running:  # else it projects what a pruner merged
            inputs, evidence = running.pop()
            pooled = output[adapter.held_images(inputs)]
            with torch.no_grad():
                receive(_encoded(model, adapter, inputs, pooled, args[0].detach(), evidence, None, seed))

    with ExitStack() as stack:
        if AttentionEvidence(model, adapter, wanted).modules:
            stack.enter_context(listening(hear))
        stack.callback(tower.register_forward_pre_hook(before_tower, with_kwargs=True).remove)
        stack.callback(projector.register_forward_hook(after_projector).remove)
        yield


def _heard(
    model: PreTrainedModel, adapter: AbstractAdapter, evidence: AttentionEvidence, run: Callable[[], Any]
) -> tuple[Any, Tensor]:
    """What `run` returns, and what the projector received meanwhile."""
    caught: list[Tensor] = []
    projector = adapter.projector(model)

    def before_projector(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        caught.append(args[0] if args else next(iter(options.values())))

    hook = projector.register_forward_pre_hook(before_projector, with_kwargs=True)
    try:
        if evidence.modules:
            with listening(evidence.hear):
                output = run()
        else:
            output = run()
    finally:
        hook.remove()
    return output, caught[0].detach()


def _encoded(
    model: PreTrainedModel,
    adapter: AbstractAdapter,
    inputs: Mapping[str, Any],
    pooled: Sequence[Tensor] | Tensor,
    caught: Tensor,
    evidence: AttentionEvidence,
    groups: Sequence[IntArray] | None,
    seed: int,
) -> Encoded:
    layouts = adapter.layouts(model, inputs)
    flat = torch.cat([part.detach().reshape(-1, part.shape[-1]) for part in pooled])
    counts = [layout.tokens for layout in layouts]
    if sum(counts) != len(flat):
        raise RuntimeError(f"the adapter of {model.config.model_type!r} counts {sum(counts)} tokens, got {len(flat)}")
    projected = flat.split(counts)
    keys = [_digest(picture) for picture in adapter.pictures(model, inputs)]
    features = adapter.features(model, caught, inputs)
    arrays = evidence.arrays(inputs)
    tokens: list[VisualTokens] = []
    own: list[Tensor] = []
    for layout, rows in zip(layouts, projected, strict=True):
        for tile in layout.tiles:
            sources, places = (torch.as_tensor(index, device=flat.device) for index in (tile.sources, tile.places))
            own.append(features[tile.view][sources])
            heard: dict[str, Any] = {name: of_tile(name, seen[tile.view], tile) for name, seen in arrays.items()}
            vectors, projected_rows = (part.float().cpu().numpy() for part in (own[-1], rows[places]))
            heard["groups"] = None if groups is None else groups[tile.view]
            heard |= {"at": tile.at, "crops": tile.crops, "key": keys[tile.view], "seed": seed}
            tokens.append(VisualTokens(vectors, projected_rows, tile.grid, **heard))
    return Encoded(tuple(tokens), tuple(layouts), tuple(projected), tuple(own))


def _digest(picture: Tensor) -> str:
    """Name of a picture: a digest of the pixels the model sees."""
    return hashlib.blake2b(picture.detach().float().cpu().numpy().tobytes(), digest_size=8).hexdigest()
