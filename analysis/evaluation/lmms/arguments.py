"""The arguments of `lmms_eval --model prunescope --model_args ...`: which checkpoint, and how it is pruned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import torch

from analysis.models import Vlm, load
from analysis.pruning import AbstractPruner, prune
from analysis.pruning.log import PruningLog
from analysis.pruning.pruner import Keep
from analysis.pruning.pruners import pruner as pruner_named
from solvers import OBJECTIVES, SOLVERS, AbstractObjective, AbstractSolver
from solvers.names import nearest

from ..settings import STOCK

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_FAMILIES = {AbstractSolver: SOLVERS, AbstractObjective: OBJECTIVES}


@dataclass(frozen=True)
class Arguments:
    """What `--model_args` may say. All other names are hyper-parameters of the pruner.

    Parameters
    ----------
    pretrained
        Folder or hub id of the checkpoint.
    pruner
        Name out of `PRUNERS`; "none" is the stock model. Its hyper-parameters stand beside it:
        ``pruner=vispruner,keep=64,important_ratio=0.25``; several numbers in brackets, ``pivots=[4,4]``; a solver, an
        objective or another pruner by its name, ``pruner=Greedy+FacilityLocation,solver=LazyGreedy``.
    keep, position_ids, separators, tiles, seed
        As in `prune`; `keep` is needed with a pruner.
    dtype
        "float32", "float16" or "bfloat16".
    device
        Where the model goes; None is the GPU, if there is one. lmms-eval's own ``--device`` comes here too.
    revision
        Of a hub repository.
    batch_size
        Prompts per batch; lmms-eval's own ``--batch_size`` comes here.
    """

    pretrained: str
    pruner: AbstractPruner | None = None
    keep: Keep | None = None
    position_ids: str | None = None
    separators: str = "drop"
    tiles: str = "each"
    seed: int = 0
    dtype: str = "float32"
    device: str | None = None
    revision: str | None = None
    batch_size: int = 1

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Arguments:
        """The arguments as lmms-eval hands them over: by name, numbers and truth values out of their texts.

        Raises
        ------
        KeyError
            For an unknown argument, pruner, hyper-parameter or dtype; the nearest name is suggested.
        ValueError
            If the checkpoint is missing, a budget comes without a pruner or a pruner without a budget, or a value is
            of another kind than its argument.
        """
        said = {name: value for name, value in given.items() if value is not None}
        if "pretrained" not in said:
            raise ValueError("`pretrained` must name the checkpoint: write pretrained=<folder or hub id>")
        name = said.pop("pruner", STOCK)
        stock = name == STOCK
        if stock == ("keep" in said):
            rule = "`keep` needs a pruner, which `pruner` names" if stock else f"pruner {name!r} needs `keep`"
            raise ValueError(f"{rule}, got {said.get('keep')!r}")
        chosen = None if stock else pruner_named(str(name))
        own = {item.name for item in fields(cls)} - {"pruner"}
        for argument in said:
            nearest(argument, [*own, "pruner", *([] if chosen is None else _names(chosen))], "model argument")
        if chosen is not None:
            chosen = with_parameters(chosen, {key: value for key, value in said.items() if key not in own})
        # a hub id or a commit may be all digits, and then lmms-eval hands over a number
        texts: dict[str, Any] = {key: str(said[key]) for key in ("pretrained", "device", "revision") if key in said}
        hints = get_type_hints(cls)
        rest = {key: _converted(key, said[key], hints[key]) for key in own - {"keep", *texts} if key in said}
        read = cls(pruner=chosen, keep=said.get("keep"), **texts, **rest)
        nearest(read.dtype, DTYPES, "dtype")
        if read.batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {read.batch_size}")
        return read

    def load(self) -> Vlm:
        """The checkpoint; errors as of `analysis.load`."""
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        return load(self.pretrained, device=device, dtype=DTYPES[self.dtype], revision=self.revision)

    def pruning(self, vlm: Vlm) -> AbstractContextManager[PruningLog | None]:
        """`prune` with these arguments, or for the stock model a context that does nothing."""
        if self.pruner is None or self.keep is None:
            return nullcontext()
        return prune(
            vlm,
            self.pruner,
            self.keep,
            position_ids=self.position_ids,
            separators=self.separators,
            tiles=self.tiles,
            seed=self.seed,
        )


def with_parameters(pruner: AbstractPruner, given: Mapping[str, Any]) -> AbstractPruner:
    """`pruner` with other hyper-parameters, each as text or number.

    Raises
    ------
    ValueError
        If a value is of another kind than the hyper-parameter.
    KeyError
        If a hyper-parameter is chosen by name, and there is none of that name.

    Examples
    --------
    >>> from analysis.pruning.pruners import VisPruner
    >>> with_parameters(VisPruner(), {"important_ratio": 1})
    VisPruner(important_ratio=1.0)
    """
    hints = get_type_hints(type(pruner))
    return replace(pruner, **{name: _converted(name, value, hints[name]) for name, value in given.items()})


def _names(pruner: AbstractPruner) -> list[str]:
    return [item.name for item in fields(pruner) if item.init]


def _converted(name: str, value: Any, hint: Any) -> Any:
    """`value` as what the annotation asks for: int, float, bool, str, tuple, or one of a family by its name."""
    kinds = (hint,) if isinstance(hint, type) or get_origin(hint) in (tuple, AbstractObjective) else get_args(hint)
    if NoneType in kinds and isinstance(value, str) and value.lower() == "none":
        return None
    for kind in kinds:
        origin = get_origin(kind) or kind
        if origin is AbstractPruner:
            return pruner_named(str(value))
        if origin in _FAMILIES:
            known = {entry.__name__: entry for entry in _FAMILIES[origin]}
            return known[nearest(str(value), known, name)]()
        if origin is tuple:
            return _several(name, value, get_args(kind))
        if origin is int and isinstance(value, str) and value.isdecimal():  # lmms-eval's command leaves batch sizes so
            return int(value)
        if origin is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if origin in (int, bool, str) and type(value) is origin:
            return value
    wanted = " or ".join("none" if kind is NoneType else kind.__name__ for kind in kinds)
    raise ValueError(f"`{name}` must be {wanted}, got {value!r}")


def _several(name: str, value: Any, kinds: Sequence[Any]) -> tuple[Any, ...]:
    """Entries in brackets, one per kind."""
    try:
        entries = json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        entries = None
    if not isinstance(entries, list) or len(entries) != len(kinds):
        raise ValueError(f"`{name}` must be {len(kinds)} entries in brackets, such as [4,4], got {value!r}")
    return tuple(_converted(name, entry, kind) for entry, kind in zip(entries, kinds, strict=True))
