"""What a pruner gets to see: the visual tokens of one picture (an image, or a tile of one), as arrays."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.linalg import block_diag

from solvers.arrays import Float64Array, IntArray, finite, frozen

FloatArray = npt.NDArray[np.float32]
T = TypeVar("T")
FIELDS = ("features", "projected", "grid", "cls", "attention_map", "keys", "first_cls", "last_cls", "last_keys",
          "groups", "text", "needed")  # fmt: skip
"""What a pruner may need."""
_ROWS = ("features", "projected", "cls", "keys", "first_cls", "last_cls", "last_keys")


@dataclass(frozen=True, eq=False)
class VisualTokens:
    """The n visual tokens of one picture, in row-major order of the grid. Frozen and validated once.

    Where the encoder has no CLS token, the mean attention that a token receives from all of them stands for the row of
    the CLS token everywhere. Where the projector merges several patches into one token, attention and keys are means
    over its patches.

    Parameters
    ----------
    features
        What the projector receives: output of the vision encoder's feature layer, float32 [token, dim].
    projected
        The same in the embedding space of the language model, float32 [token, hidden].
    grid
        Rows and columns, rows * columns = n.
    cls
        Attention of the CLS token to each token [token], mean over heads, in the block whose output the features are;
        the share of the CLS token itself is dropped, not renormalised. This and the next five are None unless asked
        for.
    attention_map
        Attention among the tokens in that block [query token, key token], mean over heads, CLS row and column dropped
        without renormalising.
    keys
        Attention keys of that block [token, dim], mean over heads.
    first_cls
        As `cls`, in the first block.
    last_cls, last_keys
        Attention of the CLS token [token] and keys [token, width] in the last block, its heads taken as one.
    groups
        Where the encoder merged tokens: the token that stands for each token, int64 [token].
    text
        Input embeddings of the question's words in the language model [word, hidden], or None.
    needed
        Ground truth of a benchmark: the tokens that the answer needs, int64, or None.
    seed
        Seed of pruners that draw.
    at, crops
        Row and column of a crop among the crops of its image, and how many rows and columns of them there are, those
        of nothing but padding included; None for a whole image.
    key
        Name of the image in the random streams. A digest of its pixels, so the same image draws the same tokens in
        whatever batch it comes.

    Raises
    ------
    ValueError
        For NaN or infinite values, shapes that do not fit together, indices in `needed` out of range.
    """

    features: FloatArray
    projected: FloatArray
    grid: tuple[int, int]
    cls: FloatArray | None = None
    attention_map: FloatArray | None = None
    keys: FloatArray | None = None
    first_cls: FloatArray | None = None
    last_cls: FloatArray | None = None
    last_keys: FloatArray | None = None
    groups: IntArray | None = None
    text: FloatArray | None = None
    needed: IntArray | None = None
    seed: int = 0
    at: tuple[int, int] | None = None
    crops: tuple[int, int] | None = None
    key: str = ""
    _shared: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        n = self.grid[0] * self.grid[1]
        hidden = np.shape(self.projected)[-1]
        self._check("features", (n, np.shape(self.features)[-1]))
        self._check("projected", (n, hidden))
        for name in ("cls", "first_cls", "last_cls"):
            self._check(name, (n,))
        self._check("attention_map", (n, n))
        for name in ("keys", "last_keys"):
            self._check(name, (n, *np.shape(getattr(self, name))[1:]))
        if self.groups is not None and np.shape(self.groups) != (n,):
            raise ValueError(f"`groups` must have shape [{n}] on a grid of {self.grid}, got {np.shape(self.groups)}")
        self._check_question()

    def _check_question(self) -> None:
        if self.text is not None:
            self._check("text", (len(self.text), np.shape(self.projected)[-1]))
        if self.needed is not None:
            object.__setattr__(self, "needed", token_indices(self.needed, len(self)))

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        if getattr(self, name) is None:
            return
        array = finite(name, getattr(self, name))
        if array.shape != shape or 0 in shape:
            raise ValueError(f"`{name}` must have shape {list(shape)} on a grid of {self.grid}, got {array.shape}")
        object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return self.grid[0] * self.grid[1]

    def evidence(self, name: str) -> FloatArray:
        """The field `name`, which must be there: a pruner has it once it is in its `needs`.

        Raises
        ------
        ValueError
            If these tokens were made without it.
        """
        array: FloatArray | None = getattr(self, name)
        if array is None:
            raise ValueError(f"these tokens have no `{name}`: put it into the `needs` of the pruner")
        return array

    @property
    def similarity(self) -> Float64Array:
        """Cosines of the projected features [token, token], 0 with a zero vector, in float64 and read-only; shared."""
        return self.shared("similarity", lambda: frozen(self.unit @ self.unit.T))

    def similarity_from_second_use(self) -> Float64Array | None:
        """`similarity`, but None the first time that it is asked for here: a rule that chooses only once from a picture
        makes the few rows that it needs in less time than the matrix.
        """
        if not {"similarity", "used once"}.isdisjoint(self._shared):
            return self.similarity
        self._shared["used once"] = True
        return None

    @property
    def unit(self) -> Float64Array:
        """The projected features scaled to length one [token, hidden], a zero vector left zero, read-only; shared."""
        return self.shared("unit", lambda: frozen(unit_or_zero(self.projected)))

    def shared(self, name: Hashable, build: Callable[[], T]) -> T:
        """`build()`, computed once for this picture: the same tokens under another question, ground truth or seed, on
        which it must not depend, share it.
        """
        if name not in self._shared:
            self._shared[name] = build()
        value: T = self._shared[name]
        return value

    def asked(self, text: npt.ArrayLike) -> VisualTokens:
        """The same tokens with the word embeddings of a question [word, hidden]."""
        return self._with("text", np.asarray(text, dtype=np.float32))

    def with_needed(self, needed: npt.ArrayLike) -> VisualTokens:
        """The same tokens with the ground truth of a question."""
        return self._with("needed", np.asarray(needed))

    def seeded(self, seed: int) -> VisualTokens:
        """The same tokens for pruners that draw by another seed."""
        return self._with("seed", seed)

    def _with(self, name: str, value: Any) -> VisualTokens:
        """The same tokens with another question, ground truth or seed; the rest was checked already."""
        tokens = copy.copy(self)
        object.__setattr__(tokens, name, value)
        tokens._check_question()
        return tokens

    def only(self, tokens: IntArray) -> VisualTokens:
        """Some of the tokens as a picture in a single row, without the fields that count tokens of the whole one."""
        fields: dict[str, Any] = {}
        for name in _ROWS:
            if getattr(self, name) is not None:
                fields[name] = getattr(self, name)[tokens]
        if self.attention_map is not None:
            fields["attention_map"] = self.attention_map[np.ix_(tokens, tokens)]
        return replace(self, grid=(1, len(tokens)), groups=None, needed=None, at=None, crops=None, **fields)


def joined(tiles: Sequence[VisualTokens]) -> VisualTokens:
    """The tiles of one image as one picture in a single row; a map of attention holds 0 between tiles."""
    first = tiles[0]
    fields: dict[str, Any] = {}
    for name in _ROWS:
        if getattr(first, name) is not None:
            fields[name] = np.concatenate([getattr(tile, name) for tile in tiles])
    if first.attention_map is not None:
        fields["attention_map"] = block_diag(*(tile.attention_map for tile in tiles)).astype(np.float32)
    return replace(
        first,
        at=None,
        crops=None,
        grid=(1, len(fields["projected"])),
        **fields,
        key="+".join(tile.key for tile in tiles),
    )


def unit_or_zero(rows: FloatArray) -> Float64Array:
    """`rows` [row, dim] scaled to length one in float64; a zero row stays zero."""
    values = rows.astype(np.float64)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(length > 0, length, 1.0), dtype=np.float64)


def token_indices(needed: npt.ArrayLike, tokens: int) -> IntArray:
    """`needed` as distinct ascending int64 indices in [0, tokens - 1]; may be empty.

    Raises
    ------
    ValueError
        If it is not one list of integers, or an index is out of range.
    """
    given = np.asarray(needed)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise ValueError(f"`needed` must hold a list of token indices (integers), got {needed!r}")
    array = np.unique(given.astype(np.int64))
    if array.size and (array[0] < 0 or array[-1] >= tokens):
        raise ValueError(f"`needed` must lie in [0, {tokens - 1}], got [{array[0]}, {array[-1]}]")
    return array
