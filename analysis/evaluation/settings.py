"""The columns of an accuracy table: which pruner, budget, seed and position ids the answers were given under."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.models import Vlm
from analysis.pruning.inputs import PositionPolicy
from analysis.pruning.pruner import AbstractPruner, checked_keep
from analysis.pruning.pruners import pruner as pruner_named

STOCK = "none"


@dataclass(frozen=True)
class Setting:
    """One column of the accuracy table; `pruner` None is the stock model."""

    pruner: AbstractPruner | None
    keep: int
    seed: int
    policy: PositionPolicy

    @property
    def name(self) -> str:
        return STOCK if self.pruner is None else self.pruner.name

    def part(self, start: int, stop: int) -> str:
        """Name of the part that holds images `start` to `stop` of the task under this setting."""
        readable = re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")[:40]
        # the digest tells hyper-parameters apart that the name does not show
        digest = hashlib.sha256(repr(self.pruner).encode()).hexdigest()[:8]
        return f"{readable}-{digest}/keep{self.keep:04d}-{self.policy}-seed{self.seed}-images{start:06d}-{stop:06d}"


def settings_of(
    vlm: Vlm,
    pruners: Sequence[AbstractPruner | str] | AbstractPruner | str,
    keeps: Sequence[int],
    seeds: Sequence[int],
    policy: PositionPolicy,
) -> list[Setting]:
    """The stock model first, then every pruner with every budget and seed; arguments as those of `evaluate`."""
    several = [pruners] if isinstance(pruners, str | AbstractPruner) else pruners
    chosen = [pruner_named(entry) if isinstance(entry, str) else entry for entry in several]
    names = [STOCK, *(entry.name for entry in chosen)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"`pruners` must have different names, got {', '.join(repeated)} more than once")
    if chosen and not (keeps and seeds):
        raise ValueError("`keeps` and `seeds` must not be empty")
    n = vlm.adapter.tokens(vlm.model)
    budgets = list(dict.fromkeys(checked_keep(keep, n) for keep in keeps)) if chosen else []
    stock = Setting(None, n, 0, policy)
    return [stock] + [
        Setting(entry, keep, seed, policy)
        for entry in chosen
        for keep in budgets
        for seed in dict.fromkeys(int(seed) for seed in seeds)
    ]
