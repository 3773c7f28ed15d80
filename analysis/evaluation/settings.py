"""The columns of an accuracy table: which pruner, budget, seed and position ids the answers were given under."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy.typing as npt

from analysis.models import Vlm
from analysis.pruning.inputs import PositionPolicy
from analysis.pruning.prune import own_policy
from analysis.pruning.pruner import AbstractPruner, checked_keep
from analysis.pruning.pruners import as_pruner
from solvers.names import identity

from .tasks import AbstractTask

STOCK = "none"
Rule = AbstractPruner | Callable[..., npt.ArrayLike] | str
Pruners = Mapping[str, Rule] | Sequence[Rule] | Rule


@dataclass(frozen=True)
class Setting:
    """One column of the accuracy table; `pruner` None is the stock model."""

    name: str
    pruner: AbstractPruner | None
    keep: int
    seed: int
    policy: PositionPolicy
    packed: bool
    """Whether the questions of an image can be answered in one packed sequence; else by `generate`."""

    def part(self, start: int, stop: int) -> str:
        """Name of the part that holds images `start` to `stop` of the task under this setting."""
        readable = re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")[:40]
        # the digest tells hyper-parameters apart that the name does not show
        parameters = identity(self.pruner) if self.pruner else STOCK
        digest = hashlib.sha256(parameters.encode()).hexdigest()[:8]
        return f"{readable}-{digest}/keep{self.keep:04d}-{self.policy}-seed{self.seed}-images{start:06d}-{stop:06d}"


def settings_of(
    vlm: Vlm,
    task: AbstractTask,
    pruners: Pruners,
    keeps: Sequence[int],
    seeds: Sequence[int],
    position_ids: str | None,
) -> list[Setting]:
    """The stock model first, then every pruner with every budget and seed; arguments as those of `evaluate`."""
    chosen = _named(pruners)
    for pruner in chosen.values():
        _check_ground_truth(vlm, task, pruner)
    for name, numbers in (("keeps", keeps), ("seeds", seeds)):
        if isinstance(numbers, int):
            raise ValueError(f"`{name}` must be a sequence of integers, got {numbers}: write ({numbers},)")
        if chosen and not len(numbers):
            raise ValueError("`keeps` and `seeds` must not be empty")
    if not vlm.adapter.fixed_grid:
        raise ValueError(
            f"`evaluate` needs a model whose images all have the same number of visual tokens, got {vlm.id!r}: prune "
            "it with `prune` and a share, and score its answers yourself"
        )
    n = vlm.adapter.tokens(vlm.model)
    budgets = list(dict.fromkeys(checked_keep(keep, n) for keep in keeps)) if chosen else []
    packable = vlm.adapter.position_axes == 1 and not vlm.adapter.mask_from_outside
    stock = Setting(STOCK, None, n, 0, "keep", packable)
    policies = {name: own_policy(vlm.adapter, pruner, position_ids) for name, pruner in chosen.items()}
    return [stock] + [
        Setting(name, pruner, keep, seed, policies[name], packable and not (pruner.inside or pruner.in_encoder))
        for name, pruner in chosen.items()
        for keep in budgets
        for seed in dict.fromkeys(int(seed) for seed in seeds)
    ]


def _named(pruners: Pruners) -> dict[str, AbstractPruner]:
    """The pruners by the name they have in the table: their own, or the key in a mapping."""
    if isinstance(pruners, Mapping):
        pairs = [(name, as_pruner(entry)) for name, entry in pruners.items()]
    else:
        several = pruners if isinstance(pruners, Sequence) and not isinstance(pruners, str) else [pruners]
        pairs = [(pruner.name, pruner) for pruner in map(as_pruner, several)]
    names = [STOCK, *(name for name, _ in pairs)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"`pruners` must have different names, got {', '.join(repeated)} more than once: "
            "pass a dict of name to pruner to name them yourself"
        )
    return dict(pairs)


def _check_ground_truth(vlm: Vlm, task: AbstractTask, pruner: AbstractPruner) -> None:
    grid = vlm.adapter.grid(vlm.model)
    if "needed" in pruner.needs and task.needed_grid not in (None, grid):
        raise ValueError(
            f"pruner {pruner.name!r} needs ground truth, which task {task.name!r} states on a grid of "
            f"{task.needed_grid}; this model has {grid}"
        )
