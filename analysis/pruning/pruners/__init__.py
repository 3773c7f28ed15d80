"""Pruners, each a frozen dataclass of its hyper-parameters. `PRUNERS` holds one of each and is the whole registry."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy.typing as npt

from solvers.names import nearest

from ..pruner import AbstractPruner
from .attention import FasterVLM, FoPruRank, FoPruRows, HiRED, HoloV, VisPruner
from .baselines import Oracle, Random, UniformGrid
from .coverage import EADP, SCOPE, MMTok, OTPrune
from .features import CDPruner, DivPrune, GreedyPrune
from .inside import Dart, FastV, Feather, GreedyPruneInside, PyramidDrop, SparseVLM, SparseVLMPlus
from .merging import TRIM, Pooling, PruMerge, VisionZip
from .mixture import ImportantAndDiverse
from .own import OwnRule, own_rule
from .solver import SolverPruner
from .tome import ToMe

__all__ = [
    "EADP",
    "PRUNERS",
    "SCOPE",
    "TRIM",
    "AbstractPruner",
    "CDPruner",
    "Dart",
    "DivPrune",
    "FastV",
    "FasterVLM",
    "Feather",
    "FoPruRank",
    "FoPruRows",
    "GreedyPrune",
    "GreedyPruneInside",
    "HiRED",
    "HoloV",
    "ImportantAndDiverse",
    "MMTok",
    "OTPrune",
    "Oracle",
    "OwnRule",
    "Pooling",
    "PruMerge",
    "PyramidDrop",
    "Random",
    "SolverPruner",
    "SparseVLM",
    "SparseVLMPlus",
    "ToMe",
    "UniformGrid",
    "VisPruner",
    "VisionZip",
    "as_pruner",
    "own_rule",
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
    SCOPE(),
    MMTok(),
    OTPrune(),
    EADP(),
    HoloV(),
    HiRED(),
    ImportantAndDiverse(),
    VisionZip(),
    PruMerge(),
    PruMerge(plus=True),
    TRIM(),
    Pooling(),
    ToMe(),
    FastV(),
    PyramidDrop(),
    SparseVLM(),
    SparseVLMPlus(),
    Dart(),
    Feather(),
    GreedyPruneInside(),
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


def as_pruner(entry: AbstractPruner | Callable[..., npt.ArrayLike] | str) -> AbstractPruner:
    """`entry` itself, the pruner of that name, or a function as a pruner: see `own_rule`.

    Raises
    ------
    KeyError
        For an unknown name; the nearest is suggested.
    TypeError
        For anything else, the class of a pruner included.
    """
    if isinstance(entry, str):
        return pruner(entry)
    if inspect.isroutine(entry):
        return own_rule(entry)
    if not isinstance(entry, AbstractPruner):
        hint = f": write {entry.__name__}()" if isinstance(entry, type) else ""
        raise TypeError(f"`pruner` must be a pruner or its name, got {entry!r}{hint}")
    return entry
