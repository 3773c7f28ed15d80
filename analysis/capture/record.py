"""`record`: attention rows of a running model, by name."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from solvers.names import nearest, unknown

from ..models import AbstractAdapter, Vlm, adapter_for
from .attention_call import AttentionCall, listening
from .encoder_pass import EncoderPass, encoder_place, refuse_uncounted
from .reducers import AbstractReducer, Place
from .streamed import reduce_all


class Log:
    """What was recorded: an attribute (or item) per reducer, readable during and after the recording.

    ``log.cls`` is a float32 tensor on the CPU [image, layer, ...]: what the reducer keeps of each layer, layers in the
    order of the reducer's `layers`, images in the order in which the model saw them, over all forward passes. With beam
    search a prompt counts once per beam. A reducer that keeps several things has an entry for each (see `TopK`).

    Of an encoder that sees an image as several pictures (crops, tiles), each of them is an entry. Pictures of different
    grids do not fit into one tensor: `each` gives them one by one.
    """

    def __init__(self, layers: dict[str, tuple[int, ...]], reducers: dict[str, AbstractReducer]) -> None:
        self._parts: dict[str, dict[int, list[Tensor]]] = {}
        for name, chosen in layers.items():
            for suffix in reducers[name].suffixes:
                if name + suffix in self._parts:
                    raise ValueError(f"two reducers would both be shown as {name + suffix!r}: rename one")
                self._parts[name + suffix] = {layer: [] for layer in chosen}

    def each(self, name: str) -> list[Tensor]:
        """The record called `name` image by image, float32 [layer, ...]; errors as for ``log[name]``."""
        images = [[image for call in calls for image in call] for calls in self._layers(name)]
        return [torch.stack(layers) for layers in zip(*images, strict=True)]

    def __getitem__(self, name: str) -> Tensor:
        layers = self._layers(name)
        if len({call.shape[1:] for calls in layers for call in calls}) > 1:
            raise ValueError(
                f"`{name}` holds forward passes with different numbers of visual tokens: take them one by one, "
                f"log.each({name!r})"
            )
        return torch.stack([torch.cat(calls) for calls in layers], dim=1)

    def _layers(self, name: str) -> list[list[Tensor]]:
        """The calls of each layer."""
        layers = list(self._parts[nearest(name, self._parts, "record")].values())
        if not layers[0]:
            raise ValueError(f"`{name}` recorded nothing: no forward pass with an image and its prompt was seen")
        if len({len(calls) for calls in layers}) > 1:
            raise ValueError(f"`{name}` is incomplete: a forward pass broke off between the layers")
        return layers

    def __getattr__(self, name: str) -> Tensor:
        if name.startswith("_") or name not in self._parts:
            raise AttributeError(unknown(name, self.__dict__.get("_parts", ()), "record"))
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parts]


@contextmanager
def record(vlm: Vlm | PreTrainedModel, **reducers: AbstractReducer) -> Iterator[Log]:
    """Record attention of every forward pass inside the context, `generate` included.

    The model keeps its attention implementation, and its outputs stay bit-identical; only the rows that the reducers
    ask for are computed beside it, without gradients, in float32. Of the language model the prefill is recorded. After
    exit, also by an exception, nothing is left on the model, its configuration or the library.

    Encoders of which several patches make a token (Qwen, InternVL, Gemma 3, Idefics3) are recorded token by token and
    picture by picture: attention to a token is the sum of that to its patches, windows are put in order (see
    `EncoderPass`); `source_label` says so in words. Of a video each frame counts as a picture there, of Mllama each
    tile.

    Parameters
    ----------
    vlm
        The model, loaded or bare.
    reducers
        What to keep, by the name under which the log shows it.

    Raises
    ------
    ValueError
        If there are no reducers, a layer does not exist, CLS rows are asked of an encoder without CLS, rows of words
        about tokens that stand beside the prompt, or numbers that count no tokens of an encoder that is recorded token
        by token. During a forward pass: if the prompts of a batch hold different numbers of visual tokens, or the
        language model does not see the prompt as given (the visual tokens are pruned: record outside of `prune`).
    TypeError
        If a reducer is something else.

    Examples
    --------
    >>> with record(vlm, cls=ClsRow(), last=LastRow(heads=False)) as log:  # doctest: +SKIP
    ...     vlm.answer(image, question)
    >>> log.cls.shape  # image, layer, head, token  # doctest: +SKIP
    torch.Size([1, 5, 4, 576])
    """
    model, adapter = (vlm.model, vlm.adapter) if isinstance(vlm, Vlm) else (vlm, adapter_for(vlm))
    recorder = _Recorder(model, adapter, reducers)
    with ExitStack() as stack:
        base: Any = model.base_model
        stack.callback(base.register_forward_pre_hook(recorder.enter, with_kwargs=True).remove)
        stack.callback(base.register_forward_hook(recorder.leave, always_call=True).remove)
        if recorder.merged is not None:
            tower = adapter.vision_tower(model)
            stack.callback(tower.register_forward_pre_hook(recorder.merged.enter, with_kwargs=True).remove)
            stack.callback(tower.register_forward_hook(recorder.merged.leave).remove)
        stack.enter_context(listening(recorder.hear))
        yield recorder.log


class _Recorder:
    """Knows whose layer an attention module is, and where the visual tokens of the running forward pass are."""

    def __init__(self, model: PreTrainedModel, adapter: AbstractAdapter, reducers: dict[str, AbstractReducer]) -> None:
        if not reducers:
            raise ValueError("`reducers` must name at least one, for example cls=ClsRow()")
        towers = {"vision": adapter.vision_layers(model), "text": adapter.text_layers(model)}
        self.layer_of: dict[nn.Module, tuple[str, int]] = {
            part: (tower, index)
            for tower, blocks in towers.items()
            for index, block in enumerate(blocks)
            for part in block.modules()
        }
        for name, reducer in reducers.items():
            if not isinstance(reducer, AbstractReducer):
                raise TypeError(f"`{name}` must be a reducer such as ClsRow(), got {reducer!r}")
            if reducer.tower == "text" and adapter.cross_attention:
                raise ValueError(f"`{name}` needs visual tokens between the words of a prompt, got them beside it")
            if reducer.source.needs_cls and not adapter.has_cls:
                raise ValueError(f"`{name}` needs a vision encoder with a CLS token: use MeanReceived() here")
            if reducer.tower == "vision" and EncoderPass.needed(model, adapter):
                refuse_uncounted(name, reducer)
        self.reducers = reducers
        self.layers = {name: chosen_layers(name, r.layers, len(towers[r.tower])) for name, r in reducers.items()}
        self.log = Log(self.layers, reducers)
        self.adapter = adapter
        seen = any(reducer.tower == "vision" for reducer in reducers.values())
        merges = seen and EncoderPass.needed(model, adapter)
        self.merged = EncoderPass(model, adapter, self.keep_picture) if merges else None
        self.image_token = adapter.image_token_id(model)
        self.prompt: Place | None = None
        self.length = 0

    def enter(self, base: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Before a forward pass of the whole model: find the visual tokens, if any, in its prompts."""
        given = inspect.signature(base.forward).bind_partial(*args, **options).arguments
        ids = given.get("input_ids")
        if any(reducer.tower == "text" for reducer in self.reducers.values()) and ids is not None:
            self.length = ids.shape[1]
            self.prompt = _prompt_place(ids == self.image_token, given.get("attention_mask"))

    def leave(self, *_: Any) -> None:
        self.prompt = None

    def hear(self, module: nn.Module, call: AttentionCall) -> None:
        tower, layer = self.layer_of.get(module, ("", -1))
        if not tower:
            return
        wanted = {name: r for name, r in self.reducers.items() if r.tower == tower and layer in self.layers[name]}
        if not wanted:
            return
        if tower == "text":
            self._hear_prompt(wanted, layer, call)
        else:
            self._hear_encoder(wanted, layer, call)

    def _hear_prompt(self, wanted: dict[str, AbstractReducer], layer: int, call: AttentionCall) -> None:
        place = self._prompt(call)
        if place is not None:
            for name, reduced in reduce_all(wanted, call, place).items():
                self._keep(name, layer, reduced)

    def _hear_encoder(self, wanted: dict[str, AbstractReducer], layer: int, call: AttentionCall) -> None:
        if self.merged is None:
            for name, reduced in reduce_all(wanted, call, encoder_place(call, self.adapter)).items():
                self._keep(name, layer, reduced)
            return
        for part, place in self.merged.parts(call):
            for name, reduced in reduce_all(wanted, part, place).items():
                self.merged.add(name, layer, wanted[name], reduced)

    def keep_picture(self, name: str, layer: int, reduced: Tensor) -> None:
        self._keep(name, layer, reduced[None])

    def _keep(self, name: str, layer: int, reduced: Tensor) -> None:
        """Into the log: what the source of a reducer made of some images [image, (head), *dims]."""
        reducer = self.reducers[name]
        for suffix, part in zip(reducer.suffixes, reducer.finish(reduced), strict=True):
            self.log._parts[name + suffix][layer].append(part.cpu())

    def _prompt(self, call: AttentionCall) -> Place | None:
        if self.prompt is not None and call.query.shape[2] != self.length:
            raise ValueError(
                f"the language model must see the {self.length} tokens of the prompt to be recorded, "
                f"got {call.query.shape[2]}: record outside of `prune`"
            )
        return self.prompt


def chosen_layers(name: str, layers: tuple[int, ...] | None, count: int) -> tuple[int, ...]:
    """Indices from 0 of the layers that the reducer called `name` records in a tower of `count`."""
    chosen = range(count) if layers is None else layers
    for layer in chosen:
        if not -count <= layer < count:
            raise ValueError(f"`layers` of `{name}` must be in [{-count}, {count - 1}], got {layer}")
    resolved = tuple(layer % count for layer in chosen)
    if not resolved or len(set(resolved)) < len(resolved):
        raise ValueError(f"`layers` of `{name}` must name at least one layer and none twice, got {layers}")
    return resolved


def _prompt_place(visual: Tensor, mask: Any) -> Place | None:
    """Place of the visual tokens from their mask [prompt, position]; None without any: text only, or decoding."""
    prompts, length = visual.shape
    counts = visual.sum(1)
    if not counts.any():
        return None
    if (counts != counts[0]).any():
        raise ValueError(f"prompts recorded together must hold equally many visual tokens, got {counts.tolist()}")
    positions = torch.arange(length, device=visual.device)
    padded = isinstance(mask, Tensor) and mask.ndim == 2
    last = (mask.to(visual.device).bool() * positions).amax(1) if padded else positions[-1:].expand(prompts)
    return Place(visual=visual.nonzero()[:, 1].reshape(prompts, -1), asking=last[:, None])
