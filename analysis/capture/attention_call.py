"""Listen to the attention calls of a model while its fused kernels stay in use.

Every attention module of the Hugging Face library asks one shared registry for its attention function. While somebody
listens, the registry hands out the same function with a listener beside it: the original runs first and its result is
returned untouched, so outputs are bit-identical under any implementation (sdpa, flash, eager). The listener sees
queries and keys after rotary embedding and norms, and computes only the rows it needs.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

CHUNK = 128  # query rows of a map held per head at a time
ALTERING = ("position_bias", "s_aux")  # options that change the softmax beyond scale and mask
PACKED = "flash attention that packs several pictures or prompts (use 'sdpa')"


@dataclass(frozen=True, eq=False)
class AttentionCall:
    """What one attention function received.

    Parameters
    ----------
    query
        [image, head, query, dim].
    key
        [image, key head, key, dim]; several heads may share a key head.
    mask
        [image or 1, head or 1, query or 1, key], boolean (True is visible) or additive; [image, key] for padding only;
        or None.
    scaling
        Factor of the scores.
    causal
        Whether a query sees no later key; a four-dimensional mask says so itself.
    softcap
        Bound c that scores s approach as c tanh(s / c), before the mask (Gemma 2); None for none.
    altered
        Names of options that change the weights in ways `rows` does not follow.
    bounds
        Where the sequences begin and end that are packed into the one of this call, int [sequence + 1], as flash
        attention gets them (`cu_seqlens`); None for a sequence of its own.
    """

    query: Tensor
    key: Tensor
    mask: Tensor | None
    scaling: float
    causal: bool
    altered: tuple[str, ...] = ()
    softcap: float | None = None
    bounds: Tensor | None = None

    def sequences(self) -> list[AttentionCall]:
        """A call for each of the packed sequences, which do not see each other; else this call alone."""
        if self.bounds is None:
            return [self]
        ends = self.bounds.tolist()
        altered = tuple(name for name in self.altered if name != PACKED)
        return [
            replace(self, query=self.query[:, :, a:b], key=self.key[:, :, a:b], altered=altered, bounds=None)
            for a, b in itertools.pairwise(ends)
        ]

    def image(self, number: int) -> AttentionCall:
        """The call of one image of the batch."""
        return self.images(number, number + 1)

    def images(self, start: int, stop: int) -> AttentionCall:
        """The call of the images from `start` to before `stop`."""
        mask, some = self.mask, slice(start, stop)
        if mask is not None and len(mask) > 1:
            mask = mask[some]
        return replace(self, query=self.query[some], key=self.key[some], mask=mask)

    def rows(self, at: Tensor) -> Tensor:
        """Softmax weights of the queries `at` over all keys, float32 [image, head, row, key]; as `scores`."""
        return self.scores(at).softmax(-1)

    def scores(self, at: Tensor, space: Tensor | None = None) -> Tensor:
        """What the softmax of the queries `at` is taken of, float32 [image, head, row, key].

        Keys that a query does not see have the lowest float32, which is finite: a product with their weight is 0.

        Parameters
        ----------
        at
            Query positions, int64 [image or 1, row].
        space
            Where to write them, float32 [number], with as many numbers at least; None for a fresh tensor.

        Raises
        ------
        ValueError
            If the attention has sinks, a position bias, a sliding window that the mask does not show, or a
            mask that is no tensor; or if the call packs several sequences into one.
        """
        self.refuse_altered()
        (images, heads, _, width), (_, key_heads, keys, _) = self.query.shape, self.key.shape
        at = at.to(self.query.device)
        picked = _picked(self.query, at).float().mul_(self.scaling)
        grouped = picked.reshape(images * key_heads, -1, width)  # heads of one key head lie side by side
        product = None if space is None else room(space, (*grouped.shape[:2], keys))
        scores = torch.bmm(grouped, self.key.float().flatten(0, 1).mT, out=product).view(images, heads, -1, keys)
        if self.softcap is not None:
            scores.div_(self.softcap).tanh_().mul_(self.softcap)
        bias = self._bias(at)
        return scores if bias is None else scores.add_(bias)

    def _bias(self, at: Tensor) -> Tensor | None:
        """What the mask adds to the scores of the queries `at`, float32 [image or 1, head or 1, row, key].

        A score and the lowest number make the lowest number again; adding it is far cheaper than filling with it.
        """
        queries, keys, lowest = self.query.shape[2], self.key.shape[2], torch.finfo(torch.float32).min
        if self.mask is not None and self.mask.ndim == 4:
            shown = self._mask_rows(at, 0)
            if shown.dtype != torch.bool:
                return shown.float().clamp(min=lowest)
        elif self.causal and queries > 1:
            shown = torch.arange(keys, device=at.device) <= at[:, None, :, None]
            if self.mask is not None:
                shown = shown & self.mask[:, None, None, :keys].bool()
        elif self.mask is not None:
            shown = self.mask[:, None, None, :keys].bool()
        else:
            return None
        return (~shown).float().mul_(lowest)

    def _mask_rows(self, at: Tensor, start: int) -> Tensor:
        """Rows of a mask of four axes, from the key `start` on."""
        assert self.mask is not None
        return _picked(self.mask[..., start : self.key.shape[2]].expand(-1, -1, self.query.shape[2], -1), at)

    def in_bits(self) -> AttentionCall:
        """The same call in float32 with scores to the base 2: the weights of `scores` are powers of two.

        On processors they take a quarter of the time of powers of e.
        """
        bits = math.log2(math.e)
        mask = self.mask
        if mask is not None and mask.is_floating_point() and mask.ndim == 4:
            mask = mask.float() * bits
        return replace(
            self,
            query=self.query.float(),
            key=self.key.float().contiguous(),
            mask=mask,
            scaling=self.scaling * bits,
            softcap=None if self.softcap is None else self.softcap * bits,
        )

    def seen_by(self, at: Tensor) -> AttentionCall:
        """The call without the keys behind all of the queries `at`, if it is causal and its mask hides them.

        To know that waits for the device.
        """
        end = int(at.max()) + 1
        if not self.causal or self.query.shape[2] == 1 or end >= self.key.shape[2]:
            return self
        if self.mask is not None and self.mask.ndim == 4:
            later = self._mask_rows(at.to(self.mask.device), end)
            if (later if later.dtype == torch.bool else later > torch.finfo(torch.float32).min).any():
                return self  # such as one that lets the tokens of an image see each other
        return replace(self, key=self.key[:, :, :end])

    def refuse_altered(self) -> None:
        """ValueError if the weights depend on more than queries, keys, scale and mask."""
        if self.altered:
            raise ValueError(f"attention weights under {', '.join(self.altered)} cannot be recomputed")

    def mean_rows(self, at: Tensor | None = None) -> Tensor:
        """Head mean of `rows`, float32 [image, row, key]; None asks for every query, computed in chunks."""
        asked = torch.arange(self.query.shape[2]) if at is None else at
        return torch.cat([self.rows(part[None]).mean(1) for part in asked.split(CHUNK)], 1)


def room(space: Tensor, shape: Sequence[int]) -> Tensor:
    """The first numbers of `space` in a shape."""
    return space[: math.prod(shape)].view(shape)


def _picked(values: Tensor, at: Tensor) -> Tensor:
    """The rows `at` [image or 1, row] of values [image or 1, head, query, x], a fresh tensor."""
    if len(at) == 1:
        return values.index_select(2, at[0])
    index = at[:, None, :, None].expand(-1, values.shape[1], -1, values.shape[3])
    return values.expand(len(at), -1, -1, -1).gather(2, index)


Listener = Callable[[nn.Module, AttentionCall], None]
_listeners: list[Listener] = []
_lock = threading.Lock()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell `listener` of every attention call of every model inside the context; it picks by module.

    The registry is as before once the last listener has left, whatever the order of leaving.
    """
    with _lock:
        _listeners.append(listener)
        if len(_listeners) == 1:
            # An attribute of the registry object shadows its method: no entry, config or module is touched, and
            # "eager", which is no entry of the registry but a default of the caller, is covered too.
            vars(ALL_ATTENTION_FUNCTIONS)["get_interface"] = _get_interface
    try:
        yield
    finally:
        with _lock:
            _listeners.remove(listener)
            if not _listeners:
                del vars(ALL_ATTENTION_FUNCTIONS)["get_interface"]


class _StoppedError(Exception):
    """Carries a call out of a module that is not to finish."""

    def __init__(self, call: AttentionCall) -> None:
        super().__init__()
        self.call = call


@torch.no_grad()
def call_of(attention: nn.Module, **options: Any) -> AttentionCall:
    """What an attention module would ask its attention function for, given the `options` of its forward.

    Norms, projections and rotary embedding are the module's own; the attention itself is not computed, nobody who
    listens hears of it, and a cache is only filled if `options` hold one.

    Raises
    ------
    ValueError
        If the module does not ask the shared registry.
    """
    shadows, caller = vars(ALL_ATTENTION_FUNCTIONS), threading.get_ident()

    def stop(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, *_: Any, **given: Any) -> Any:
        raise _StoppedError(_call(module, query, key, mask, given))

    def get_interface(implementation: str, default: Callable[..., Any]) -> Callable[..., Any]:
        if threading.get_ident() == caller:
            return stop
        if before is not None:
            result: Callable[..., Any] = before(implementation, default)
            return result
        registry = ALL_ATTENTION_FUNCTIONS
        return type(registry).get_interface(registry, implementation, default)

    with _lock:
        before = shadows.get("get_interface")
        shadows["get_interface"] = get_interface
        try:
            attention(**options)
        except _StoppedError as stopped:
            return stopped.call
        finally:
            if before is None:
                del shadows["get_interface"]
            else:
                shadows["get_interface"] = before
    raise ValueError(f"{type(attention).__name__} does not ask the library's registry for its attention function")


def _get_interface(implementation: str, default: Callable[..., Any]) -> Callable[..., Any]:
    registry = ALL_ATTENTION_FUNCTIONS
    function = type(registry).get_interface(registry, implementation, default)

    @functools.wraps(function)
    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, *args: Any, **options: Any
    ) -> Any:
        output = function(module, query, key, value, attention_mask, *args, **options)
        with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
            for listener in tuple(_listeners):
                listener(module, _call(module, query, key, attention_mask, options))
        return output

    return attend


def _call(module: nn.Module, query: Tensor, key: Tensor, mask: Any, options: dict[str, Any]) -> AttentionCall:
    scaling, causal, window = options.get("scaling"), options.get("is_causal"), options.get("sliding_window")
    altered = [name for name in ALTERING if options.get(name) is not None]
    if window is not None and key.shape[2] > window and (mask is None or mask.ndim != 4):
        altered.append("sliding_window")
    bounds = options.get("cu_seq_lens_q")
    if bounds is not None:
        altered.append(PACKED)
    if mask is not None and not isinstance(mask, Tensor):
        altered.append(f"a mask of type {type(mask).__name__}")  # flex attention
        mask = None
    return AttentionCall(
        query=query.detach(),
        key=key.detach(),
        mask=mask,
        scaling=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
        causal=bool(getattr(module, "is_causal", True) if causal is None else causal),
        altered=tuple(altered),
        softcap=options.get("softcap"),
        bounds=bounds,
    )
