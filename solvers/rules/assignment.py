"""What a merging rule returns: each output token as a weighted sum of source tokens, and whose place it takes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

from ..arrays import IntArray, finite, frozen
from .ranking import ascending


@dataclass(frozen=True, eq=False)
class Assignment:
    """Source tokens merged into fewer output tokens: output = weights @ source.

    Parameters
    ----------
    anchors
        For each output the source token whose place it takes (position id, cell of the grid), distinct [output]. The
        order of the outputs is that of the published method; `in_index_order` gives the other one.
    weights
        Weight of each source token in each output [output, source], dense or sparse; kept as `scipy.sparse.csr_array`
        of float64 without zeros. Rows need not sum to 1. A source token may enter several outputs, or none.

    Raises
    ------
    ValueError
        For weights that are not a finite matrix or have an empty row, or anchors that are not distinct source tokens,
        one per output.

    Examples
    --------
    >>> pair = Assignment([0, 2], [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    >>> pair.apply(np.array([[1.0], [2.0], [4.0]])).ravel().tolist()
    [1.0, 3.0]
    """

    anchors: IntArray
    weights: Any

    def __post_init__(self) -> None:
        weights = _checked_weights(self.weights)
        object.__setattr__(self, "anchors", _checked_anchors(self.anchors, *weights.shape))
        object.__setattr__(self, "weights", weights)

    @classmethod
    def selection(cls, kept: npt.ArrayLike, sources: int) -> Assignment:
        """The assignment that keeps the tokens `kept` of `sources` as they are, in index order, and drops the others.

        Raises
        ------
        ValueError
            If `kept` is empty, or not made of distinct tokens in [0, sources - 1].
        """
        anchors = np.asarray(kept)
        anchors = _checked_anchors(ascending(anchors) if anchors.dtype.kind in "iu" else anchors, anchors.size, sources)
        places = (np.arange(anchors.size), anchors)
        return cls(anchors, scipy.sparse.csr_array((np.ones(anchors.size), places), shape=(anchors.size, sources)))

    @property
    def outputs(self) -> int:
        """Number of output tokens."""
        return int(self.weights.shape[0])

    @property
    def sources(self) -> int:
        """Number of source tokens."""
        return int(self.weights.shape[1])

    @property
    def indices(self) -> IntArray:
        """The anchors in index order, int64 [output]: what stays if nothing is merged."""
        return ascending(self.anchors)

    @property
    def is_selection(self) -> bool:
        """Whether every output is its anchor, unchanged."""
        matrix = self.weights
        return bool(
            matrix.nnz == self.outputs and (matrix.indices == self.anchors).all() and (matrix.data == 1.0).all()
        )

    def in_index_order(self) -> Assignment:
        """The same outputs, ordered by anchor, as the language model sees tokens that kept their places."""
        order = np.argsort(self.anchors)
        return Assignment(self.anchors[order], self.weights[order])

    def apply(self, features: Any) -> Any:
        """The output tokens [output, dim] of source tokens [source, dim].

        Parameters
        ----------
        features
            NumPy array or torch tensor of floating dtype [source, dim].

        Returns
        -------
        The same kind of array, dtype and device. NumPy sums in float64; torch in the dtype of the tensor, half
        precision in float32, on its device. A selection copies rows and computes nothing.

        Raises
        ------
        ValueError
            For another shape or dtype.
        """
        torch = sys.modules.get("torch")  # whoever has a tensor has imported it
        tensor = torch is not None and isinstance(features, torch.Tensor)
        values: Any = features if tensor else np.asarray(features)
        if values.ndim != 2 or values.shape[0] != self.sources:
            raise ValueError(
                f"`features` must have shape [source, dim] with {self.sources} sources, got {tuple(values.shape)}"
            )
        if not (values.is_floating_point() if tensor else values.dtype.kind == "f"):
            raise ValueError(f"`features` must be of a floating dtype, got {values.dtype}")
        if self.is_selection:
            return values[self.anchors.copy()]  # a tensor takes no read-only index
        if not tensor:
            return (self.weights @ values).astype(values.dtype, copy=False)
        assert torch is not None
        precision = torch.promote_types(values.dtype, torch.float32)
        matrix = torch.as_tensor(self.weights.toarray(), dtype=precision, device=values.device)
        return (matrix @ values.to(precision)).to(values.dtype)

    def __eq__(self, other: object) -> bool:
        """Same anchors in the same order, same weights to the last bit."""
        if not isinstance(other, Assignment):
            return NotImplemented
        mine, others = self.weights, other.weights
        return (
            mine.shape == others.shape
            and np.array_equal(self.anchors, other.anchors)
            and np.array_equal(mine.indptr, others.indptr)
            and np.array_equal(mine.indices, others.indices)
            and np.array_equal(mine.data, others.data)
        )

    __hash__ = None  # type: ignore[assignment]


def _checked_weights(weights: Any) -> Any:
    """`weights` as a read-only canonical csr_array of float64, finite and with something in every row."""
    if not scipy.sparse.issparse(weights):
        weights = finite("weights", weights)
        if weights.ndim != 2:
            raise ValueError(f"`weights` must have shape [output, source], got {weights.shape}")
    matrix = scipy.sparse.csr_array(weights, dtype=np.float64, copy=True)
    if 0 in matrix.shape:
        raise ValueError(f"`weights` must have at least one output and one source, got {matrix.shape}")
    finite("weights", matrix.data)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    empty = np.flatnonzero(np.diff(matrix.indptr) == 0)
    if empty.size:
        raise ValueError(f"`weights` must not be 0 throughout an output, got {empty.size}, first {empty[0]}")
    for array in (matrix.data, matrix.indices, matrix.indptr):
        array.setflags(write=False)
    return matrix


def _checked_anchors(anchors: npt.ArrayLike, outputs: int, sources: int) -> IntArray:
    """`anchors` as read-only int64 [output], distinct source tokens."""
    values = np.asarray(anchors)
    if values.ndim != 1 or values.size != outputs or not outputs:
        raise ValueError(f"`anchors` must have shape [output] with {max(outputs, 1)} outputs, got {values.shape}")
    if values.dtype.kind not in "iu":
        raise ValueError(f"`anchors` must be integers, got dtype {values.dtype}")
    outside = values[(values < 0) | (values >= sources)]
    if outside.size:
        raise ValueError(f"`anchors` must be in [0, {sources - 1}], got {outside[0]}")
    tokens, times = np.unique(values, return_counts=True)
    if times.max() > 1:
        raise ValueError(f"`anchors` must be distinct, got {tokens[times.argmax()]} {times.max()} times")
    return frozen(values.astype(np.int64))
