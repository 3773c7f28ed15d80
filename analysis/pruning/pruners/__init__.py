"""Pruners, each a frozen dataclass of its hyper-parameters. `PRUNERS` holds one of each and is the whole registry."""

from __future__ import annotations

from solvers.names import nearest

from ..pruner import AbstractPruner
from .attention import FasterVLM, FoPruRank, FoPruRows, VisPruner
from .baselines import Oracle, Random, UniformGrid
from .features import CDPruner, DivPrune, GreedyPrune
from .solver import SolverPruner

__all__ = [
    "PRUNERS",
    "AbstractPruner",
    "CDPruner",
    "DivPrune",
    "FasterVLM",
    "FoPruRank",
    "FoPruRows",
    "GreedyPrune",
    "Oracle",
    "Random",
    "SolverPruner",
    "UniformGrid",
    "VisPruner",
    "as_pruner",
    "pruner",
]

PRUNERS: tuple[AbstractPruner, ...] = (
    VisPruner(),
    FasterVLM(),
    FoPruRank(),
    FoPruRows(),
    GreedyPrune(),
    DivPrune(),
    CDPruner(),
    SolverPruner(),
    Random(),
    UniformGrid(),
    Oracle(),
)


def pruner(name: str) -> AbstractPruner:
    """The pruner of that name in `PRUNERS`, with its default hyper-parameters.

    Raises
    ------
    KeyError
        If there is none; the nearest name is suggested.

    Examples
    --------
    >>> pruner("vispruner")
    VisPruner(important_ratio=0.5)
    """
    by_name = {entry.name: entry for entry in PRUNERS}
    return by_name[nearest(name, by_name, "pruner")]


def as_pruner(entry: AbstractPruner | str) -> AbstractPruner:
    """`entry` itself, or the pruner of that name.

    Raises
    ------
    KeyError
        For an unknown name; the nearest is suggested.
    TypeError
        For anything else, the class of a pruner included.
    """
    if isinstance(entry, str):
        return pruner(entry)
    if not isinstance(entry, AbstractPruner):
        hint = f": write {entry.__name__}()" if isinstance(entry, type) else ""
        raise TypeError(f"`pruner` must be a pruner or its name, got {entry!r}{hint}")
    return entry
