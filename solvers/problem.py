"""One token-selection instance: what is known about n visual tokens, and how many of them may stay."""

from __future__ import annotations

import hashlib
import operator
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import Float64Array, FloatArray, IntArray, distinct_rows, finite, frozen, unit_rows
from .constraints import AbstractConstraint, Cardinality
from .names import nearest, unknown
from .problem_files import ARRAYS, damaged, read_problem, write_problem

METRICS = ("cosine", "dot")
LARGEST_UNDER_DOT = 1e150
"""Products of larger entries leave the float64 range."""


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    """Keep `budget` of n tokens. Frozen, validated once; every array is read-only.

    Build one with `Problem.from_features` or `Problem.from_similarity`.

    Parameters
    ----------
    budget
        Number of tokens k to keep, in [1, n].
    features
        Token features [token, dim], or None if the similarity was given.
    given_similarity
        Symmetric similarity [token, token], or None if it follows from the features.
    signals
        Further evidence by name: one number per token [token] ("cls", "relevance"), a map [token, token]
        ("attention_map"), or under the name "text" the embeddings of the question [word, dim].
    grid
        Rows and columns of the image, rows * columns = n, or None.
    groups
        Tile or frame of each token, int64 [token], or None.
    queries
        Text embeddings in the space of the features [word, dim], or None.
    metric
        "cosine" or "dot": how features become similarities.
    constraint
        Which selections are allowed.
    id
        Name of the problem; empty means the first 12 digits of the fingerprint.

    Raises
    ------
    ValueError
        For NaN or infinite values, wrong shapes, a budget outside [1, n], zero rows under the cosine, entries above
        1e150 under the dot product, a constraint that no selection can keep.
    KeyError
        For an unknown metric.
    """

    budget: int
    features: FloatArray | None = None
    given_similarity: Float64Array | None = None
    signals: Mapping[str, FloatArray] = field(default_factory=dict)
    grid: tuple[int, int] | None = None
    groups: IntArray | None = None
    queries: FloatArray | None = None
    metric: str = "cosine"
    constraint: AbstractConstraint = field(default_factory=Cardinality)
    id: str = ""
    _memo: dict[str, Any] = field(default_factory=dict, init=False)

    @classmethod
    def from_features(
        cls,
        features: npt.ArrayLike,
        budget: int,
        *,
        signals: Mapping[str, npt.ArrayLike] | None = None,
        grid: tuple[int, int] | None = None,
        groups: npt.ArrayLike | None = None,
        queries: npt.ArrayLike | None = None,
        metric: str = "cosine",
        constraint: AbstractConstraint | None = None,
        id: str = "",
    ) -> Problem:
        """Problem over token features [token, dim]; the other parameters are those of the class.

        Examples
        --------
        >>> import numpy as np
        >>> problem = Problem.from_features(np.eye(4), budget=2, signals={"cls": [0.4, 0.3, 0.2, 0.1]}, grid=(2, 2))
        >>> problem.tokens, problem.budget
        (4, 2)
        """
        return cls(
            budget=budget,
            features=features,  # type: ignore[arg-type]  # __post_init__ makes arrays of them
            signals=signals or {},  # type: ignore[arg-type]
            grid=grid,
            groups=groups,  # type: ignore[arg-type]
            queries=queries,  # type: ignore[arg-type]
            metric=metric,
            constraint=constraint or Cardinality(),
            id=id,
        )

    @classmethod
    def from_similarity(
        cls,
        similarity: npt.ArrayLike,
        budget: int,
        *,
        signals: Mapping[str, npt.ArrayLike] | None = None,
        grid: tuple[int, int] | None = None,
        groups: npt.ArrayLike | None = None,
        constraint: AbstractConstraint | None = None,
        id: str = "",
    ) -> Problem:
        """Problem over a symmetric similarity [token, token]; asymmetry up to 1e-6 of its scale is averaged out."""
        return cls(
            budget=budget,
            given_similarity=similarity,  # type: ignore[arg-type]
            signals=signals or {},  # type: ignore[arg-type]
            grid=grid,
            groups=groups,  # type: ignore[arg-type]
            constraint=constraint or Cardinality(),
            id=id,
        )

    def __post_init__(self) -> None:
        if (self.features is None) == (self.given_similarity is None):
            raise ValueError("a problem needs either `features` or a similarity, and not both")
        nearest(self.metric, METRICS, "metric")
        if self.features is not None:
            self._set("features", _checked_features(self.features, self.metric))
        else:
            self._set("given_similarity", _checked_similarity(self.given_similarity))
        n = self.tokens
        self._set("budget", _checked_budget(self.budget, n))
        self._set("signals", MappingProxyType({k: _checked_signal(k, v, n) for k, v in self.signals.items()}))
        self._set("grid", _checked_grid(self.grid, n))
        if self.groups is not None:
            self._set("groups", _checked_groups(self.groups, n))
        if self.queries is not None:
            self._set("queries", _checked_queries(self.queries, self.features))
        self._check_constraint()
        self._set("id", self.id or self.fingerprint[:12])

    def _check_constraint(self) -> None:
        if not isinstance(self.constraint, AbstractConstraint):
            raise ValueError(f"`constraint` must be a constraint of `solvers.constraints`, got {self.constraint!r}")
        reason = self.constraint.infeasible(self)
        if reason is not None:
            raise ValueError(f"the problem is infeasible under {self.constraint!r}: {reason}")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def tokens(self) -> int:
        """Number of tokens n."""
        source = self.features if self.features is not None else self.given_similarity
        assert source is not None
        return int(source.shape[0])

    @property
    def similarity(self) -> Float64Array:
        """Similarity [token, token], float64, exactly symmetric; a cosine lies in [-1, 1] with a diagonal of ones.

        Computed in float64 on first use: the float32 Gram matrix of 576 tokens has negative eigenvalues of the
        size of its rounding, which determinants do not forgive. Equal tokens have equal rows and columns to the last
        bit, so that no rounding decides between them.
        """
        result: Float64Array = self.cached("similarity", self._similarity)
        return result

    def _similarity(self) -> Float64Array:
        if self.features is None:
            assert self.given_similarity is not None
            return self.given_similarity
        rows = self.features.astype(np.float64)
        if self.metric == "cosine":
            rows = unit_rows("features", rows)
        distinct, copy_of = distinct_rows(self.features)
        gram = rows[distinct] @ rows[distinct].T
        gram = np.maximum(gram, gram.T)
        if self.metric == "cosine":
            np.clip(gram, -1.0, 1.0, out=gram)
            np.fill_diagonal(gram, 1.0)
        return frozen(gram[np.ix_(copy_of, copy_of)])

    def cached(self, name: str, build: Callable[[], Any]) -> Any:
        """The value of `build()`, computed once for this problem and all its `with_budget` siblings."""
        if name not in self._memo:
            self._memo[name] = build()
        return self._memo[name]

    def signal(self, name: str) -> FloatArray:
        """Signal `name`.

        Raises
        ------
        KeyError
            If the problem has none of this name; the nearest one is suggested.
        """
        return self.signals[nearest(name, self.signals, "signal")]

    def lacks(self, name: str) -> str | None:
        """Sentence saying that there is no per-token signal `name`, or None if there is one."""
        if name not in self.signals:
            return unknown(name, self.signals, "signal")
        if self.signals[name].ndim != 1:
            return f"signal {name!r} must have one value per token, got shape {self.signals[name].shape}"
        return None

    def with_budget(self, budget: int) -> Problem:
        """The same problem with another budget; cached similarities are shared."""
        sibling = replace(self, budget=budget)
        sibling._set("_memo", self._memo)
        return sibling

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all data except budget and id: two problems with equal data have equal fingerprints."""
        return str(self.cached("fingerprint", self._fingerprint))

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.metric}|{self.grid}|{self.constraint!r}".encode())
        for name, array in sorted(self._arrays().items()):
            digest.update(f"|{name}|{array.dtype}|{array.shape}|".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        own = {"features": self.features, "similarity": self.given_similarity, "groups": self.groups,
               "queries": self.queries}  # fmt: skip
        present = {name: array for name, array in own.items() if array is not None}
        return present | {f"signal:{name}": array for name, array in self.signals.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the problem to `path` as an uncompressed .npz without pickles, in one atomic step.

        Raises
        ------
        ValueError
            If the constraint is none of `constraints.CONSTRAINTS`.
        """
        about = {"budget": self.budget, "grid": self.grid, "metric": self.metric, "id": self.id}
        own = {name: array for name, array in self._arrays().items() if name in ARRAYS}
        write_problem(path, about, self.constraint, own, self.signals)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Problem:
        """Read what `save` wrote.

        Raises
        ------
        OSError
            If the file is missing, damaged, or not a problem.
        """
        found = read_problem(path)
        try:
            return cls(**found)
        except (ValueError, TypeError, KeyError) as error:
            raise damaged(path, error) from error

    def __reduce__(self) -> tuple[Any, ...]:
        # Caches stay behind: a worker process recomputes them faster than they travel.
        return _rebuild, ({name: getattr(self, name) for name in _STATE} | {"signals": dict(self.signals)},)

    def __repr__(self) -> str:
        shape = "similarity" if self.features is None else f"features [{self.tokens}, {self.features.shape[1]}]"
        return f"Problem({self.id!r}, keep {self.budget} of {self.tokens}, {shape}, signals {sorted(self.signals)})"

    def _repr_html_(self) -> str:
        from .notebook_views import problem_html  # it imports this module

        return problem_html(self)


_STATE = ("budget", "features", "given_similarity", "grid", "groups", "queries", "metric", "constraint", "id")


def _rebuild(state: dict[str, Any]) -> Problem:
    return Problem(**state)


def _checked_budget(budget: int, tokens: int) -> int:
    if isinstance(budget, bool) or not isinstance(budget, (int, np.integer)):
        raise ValueError(f"`budget` must be an integer in [1, {tokens}], got {budget!r}")
    if not 1 <= budget <= tokens:
        raise ValueError(f"`budget` must be in [1, {tokens}], got {budget}")
    return int(budget)


def _checked_features(features: npt.ArrayLike, metric: str) -> FloatArray:
    array = finite("features", features)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"`features` must have shape [token, dim] without empty axes, got {array.shape}")
    if metric == "cosine":
        zero = np.flatnonzero(~array.any(axis=1))
        if zero.size:
            raise ValueError(f"`features` must have no zero row under metric='cosine', got row {zero[0]} zero")
    elif float(np.abs(array).max()) > LARGEST_UNDER_DOT:
        raise ValueError(
            f"`features` must be at most {LARGEST_UNDER_DOT:g} under metric='dot', got {np.abs(array).max():g}"
        )
    return array


def _checked_similarity(similarity: npt.ArrayLike | None) -> Float64Array:
    array = finite("similarity", similarity if similarity is not None else ()).astype(np.float64)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.shape[0] == 0:
        raise ValueError(f"`similarity` must have shape [token, token], got {array.shape}")
    skew = float(np.abs(array - array.T).max())
    if skew > 1e-6 * max(1e-300, float(np.abs(array).max())):
        raise ValueError(f"`similarity` must be symmetric, got a largest asymmetry of {skew:.3g}")
    return frozen((array + array.T) / 2)


def _checked_signal(name: str, values: npt.ArrayLike, tokens: int) -> FloatArray:
    array = finite(f"signals[{name!r}]", values)
    if name == "text":
        if array.ndim != 2 or 0 in array.shape:
            raise ValueError(f"`signals['text']` must have shape [word, dim], got {array.shape}")
    elif array.shape not in ((tokens,), (tokens, tokens)):
        raise ValueError(
            f"`signals[{name!r}]` must have shape [token] = [{tokens}] or [token, token], got {array.shape}"
        )
    return array


def _checked_grid(grid: tuple[int, int] | None, tokens: int) -> tuple[int, int] | None:
    if grid is None:
        return None
    try:
        rows, columns = map(operator.index, grid)
    except (TypeError, ValueError):
        raise ValueError(f"`grid` must be two integers (rows, columns), got {grid!r}") from None
    if min(rows, columns) < 1 or rows * columns != tokens:
        raise ValueError(f"`grid` must be (rows, columns) with rows * columns = {tokens}, got {grid}")
    return rows, columns


def _checked_groups(groups: npt.ArrayLike, tokens: int) -> IntArray:
    array = np.asarray(groups)
    if array.dtype.kind not in "iu" or array.shape != (tokens,):
        raise ValueError(f"`groups` must be integers of shape [{tokens}], got {array.dtype} {array.shape}")
    return frozen(array.astype(np.int64))


def _checked_queries(queries: npt.ArrayLike, features: FloatArray | None) -> FloatArray:
    array = finite("queries", queries)
    if array.ndim != 2 or features is None or array.shape[0] == 0 or array.shape[1] != features.shape[1]:
        width = "dim" if features is None else features.shape[1]
        raise ValueError(f"`queries` must have shape [word, {width}] beside features, got {array.shape}")
    return array
