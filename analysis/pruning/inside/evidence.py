"""What a pruner gets to see at a stage: one prompt inside the language model, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from solvers.arrays import FloatArray, finite
from solvers.names import nearest

AXES: dict[str, tuple[str, ...]] = {
    "attention": ("token",),
    "text_attention": ("head", "word", "token"),
    "upcoming": ("token",),
    "unrotated": ("token",),
    "rotary": ("word", "token"),
    "hidden": ("token", "dim"),
    "text_hidden": ("word", "dim"),
    "normed": ("token", "dim"),
    "text_normed": ("word", "dim"),
    "keys": ("token", "dim"),
    "text_keys": ("word", "dim"),
    "embeddings": ("entered token", "dim"),
    "text_embeddings": ("word", "dim"),
}
"""What a pruner may need, with its axes."""


@dataclass(frozen=True, eq=False)
class StageEvidence:
    """The visual tokens of one prompt ahead of layer K, whose input is about to be shortened.

    All its images together, in the order of their placeholders, as far as they are still there; separators such as
    newlines count as tokens. Words are the tokens after the last image, up to the end of the prompt: the last one is
    the last token of the prompt. Everything is computed when first asked for.

    Parameters
    ----------
    tokens
        Number n of visual tokens.
    words
        Number of words.
    makers
        Of each array that can be asked for, the function that computes it.
    grid
        Rows and columns of the tokens if they are one whole picture, or several of the same width one below the other;
        else None.
    first
        Whether nothing was dropped inside the language model before.

    Attributes
    ----------
    attention
        Attention of the last token to each visual token in layer K - 1 [token], mean over heads, after the softmax over
        the whole sequence.
    text_attention
        The same of each word, by head [head, word, token].
    upcoming
        As `attention`, but in layer K itself: its own norm and projections, applied to the sequence before it is
        shortened.
    unrotated
        Attention of the last token in layer K - 1 without rotary position embedding [token], softmax over the visual
        tokens alone, mean over heads.
    rotary
        What the rotary position embedding alone contributes to attention in layer K - 1: the product of a query and a
        key of ones, rotated, over sqrt(head dim) [word, token].
    hidden, text_hidden
        Input of layer K [token, dim] and [word, dim].
    normed, text_normed
        The same after the final norm of the language model.
    keys, text_keys
        Attention keys in layer K - 1 with rotary position embedding, the heads side by side [token, dim], [word, dim].
    embeddings, text_embeddings
        What entered the first layer [entered token, dim] and [word, dim]: all visual tokens, also those dropped since.

    Raises
    ------
    ValueError
        For less than one token, a grid that does not hold them, an array that is not there, or one that is not finite.
    KeyError
        For a maker of something that no pruner may need; the nearest name is suggested.
    """

    tokens: int
    words: int
    makers: Mapping[str, Callable[[], Any]]
    grid: tuple[int, int] | None = None
    first: bool = True

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.words < 0:
            raise ValueError(f"`tokens` must be at least 1 and `words` 0, got {self.tokens} and {self.words}")
        if self.grid is not None and self.grid[0] * self.grid[1] != self.tokens:
            raise ValueError(f"`grid` must hold {self.tokens} tokens, got {self.grid}")
        for name in self.makers:
            nearest(name, AXES, "evidence")

    def _made(self, name: str) -> FloatArray:
        if name not in self.makers:
            raise ValueError(f"this stage has no `{name}`: put it into the `needs` of the pruner")
        array = finite(name, self.makers[name]())
        axes = AXES[name]
        known = {"token": self.tokens, "word": self.words}
        wrong = [axis for axis, size in zip(axes, array.shape, strict=False) if known.get(axis, size) != size]
        if array.ndim != len(axes) or wrong:
            sizes = f"{self.tokens} tokens and {self.words} words"
            raise ValueError(f"`{name}` must have shape [{', '.join(axes)}] with {sizes}, got {array.shape}")
        return array

    @cached_property
    def attention(self) -> FloatArray:
        return self._made("attention")

    @cached_property
    def text_attention(self) -> FloatArray:
        return self._made("text_attention")

    @cached_property
    def upcoming(self) -> FloatArray:
        return self._made("upcoming")

    @cached_property
    def unrotated(self) -> FloatArray:
        return self._made("unrotated")

    @cached_property
    def rotary(self) -> FloatArray:
        return self._made("rotary")

    @cached_property
    def hidden(self) -> FloatArray:
        return self._made("hidden")

    @cached_property
    def text_hidden(self) -> FloatArray:
        return self._made("text_hidden")

    @cached_property
    def normed(self) -> FloatArray:
        return self._made("normed")

    @cached_property
    def text_normed(self) -> FloatArray:
        return self._made("text_normed")

    @cached_property
    def keys(self) -> FloatArray:
        return self._made("keys")

    @cached_property
    def text_keys(self) -> FloatArray:
        return self._made("text_keys")

    @cached_property
    def embeddings(self) -> FloatArray:
        return self._made("embeddings")

    @cached_property
    def text_embeddings(self) -> FloatArray:
        return self._made("text_embeddings")
