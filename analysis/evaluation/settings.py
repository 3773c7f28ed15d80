"""The columns of an accuracy table: which pruner, budget, seed and position ids the answers were given under."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy.typing as npt

from analysis.models import Vlm
from analysis.pruning.inputs import PositionPolicy
from analysis.pruning.prune import own_policy, prune
from analysis.pruning.pruner import AbstractPruner, Keep, budget_of, checked_keep
from analysis.pruning.pruners import as_pruner
from analysis.pruning.selection import SeparatorPolicy, TilePolicy, checked_separators, checked_tiles
from solvers.names import identity

from .tasks import AbstractTask

STOCK = "none"
_ONE_PICTURE = ("llava",)  # values of `config.model_type`
Rule = AbstractPruner | Callable[..., npt.ArrayLike] | str
Pruners = Mapping[str, Rule] | Sequence[Rule] | Rule


@dataclass(frozen=True)
class Setting:
    """One column of the accuracy table; `pruner` None is the stock model, which keeps all tokens or a share of 1."""

    name: str
    pruner: AbstractPruner | None
    keep: Keep
    seed: int
    policy: PositionPolicy
    packed: bool
    """Whether the questions of an image can be answered in one packed sequence; else by `generate`."""
    tiles: TilePolicy = "each"
    separators: SeparatorPolicy = "drop"

    def part(self, start: int, stop: int) -> str:
        """Name of the part that holds images `start` to `stop` of the task under this setting."""
        readable = re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")[:40]
        # the digest tells hyper-parameters apart that the name does not show
        parameters = identity(self.pruner) if self.pruner else STOCK
        digest = hashlib.sha256(parameters.encode()).hexdigest()[:8]
        budget = f"share{self.keep!r}" if isinstance(self.keep, float) else f"keep{self.keep:04d}"
        # Stores that are older than these two hold what is now the default.
        how = ("-together" if self.tiles == "together" else "") + ("-separators" if self.separators == "keep" else "")
        return f"{readable}-{digest}/{budget}-{self.policy}{how}-seed{self.seed}-images{start:06d}-{stop:06d}"


def settings_of(
    vlm: Vlm,
    task: AbstractTask,
    pruners: Pruners,
    keeps: Sequence[Keep],
    seeds: Sequence[int],
    position_ids: str | None,
    *,
    tiles: str = "each",
    separators: str = "drop",
) -> list[Setting]:
    """The stock model first, then every pruner with every budget and seed; arguments as those of `evaluate`."""
    chosen = _named(pruners)
    for pruner in chosen.values():
        _check_ground_truth(vlm, task, pruner)
    for name, numbers in (("keeps", keeps), ("seeds", seeds)):
        if isinstance(numbers, int | float):
            raise ValueError(f"`{name}` must be a sequence of numbers, got {numbers}: write ({numbers},)")
        if chosen and not len(numbers):
            raise ValueError("`keeps` and `seeds` must not be empty")
    everything: Keep = vlm.adapter.tokens(vlm.model) if vlm.adapter.fixed_grid else 1.0
    budgets = _budgets(vlm, keeps) if chosen else []
    packable = one_picture(vlm)
    stock = Setting(STOCK, None, everything, 0, "keep", packable)
    policies = {name: own_policy(vlm.adapter, pruner, position_ids) for name, pruner in chosen.items()}
    how = checked_tiles(tiles), checked_separators(separators)
    settings = [stock] + [
        Setting(name, pruner, keep, seed, policies[name], packable and not (pruner.inside or pruner.in_encoder), *how)
        for name, pruner in chosen.items()
        for keep in budgets
        for seed in dict.fromkeys(int(seed) for seed in seeds)
    ]
    _check_family(vlm, settings)
    return settings


def one_picture(vlm: Vlm) -> bool:
    """Whether the model sees every image as one picture of one size, whose tokens stand in one piece in the prompt."""
    return vlm.model.config.model_type in _ONE_PICTURE


def _budgets(vlm: Vlm, keeps: Sequence[Keep]) -> list[Keep]:
    """The distinct budgets; a share is turned into the number that it is where all images have as many tokens."""
    if vlm.adapter.fixed_grid:
        n = vlm.adapter.tokens(vlm.model)
        return list(
            dict.fromkeys(budget_of(keep, n, 0) if _is_share(keep) else checked_keep(keep, n) for keep in keeps)
        )
    for keep in keeps:
        if not _is_share(keep) and (not isinstance(keep, Integral) or keep < 1):
            raise ValueError(f"`keep` must be a number of at least 1 or a share in (0, 1), got {keep!r}")
    shares = [_is_share(keep) for keep in keeps]
    if any(shares) and not all(shares):
        raise ValueError(
            f"`keeps` must be numbers or shares, not both, where images differ in their visual tokens, got {keeps}"
        )
    return list(dict.fromkeys(float(keep) if _is_share(keep) else int(keep) for keep in keeps))


def _is_share(keep: Keep) -> bool:
    return isinstance(keep, float) and 0 < keep < 1


def _check_family(vlm: Vlm, settings: Sequence[Setting]) -> None:
    """Let `prune` refuse now what it would refuse later: pruners that do not work in this family."""
    for setting in {setting.name: setting for setting in settings if setting.pruner and not setting.packed}.values():
        assert setting.pruner is not None
        truth = [()] if "needed" in setting.pruner.needs else None
        with prune(vlm, setting.pruner, setting.keep, position_ids=setting.policy, needed=truth):
            pass


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
    if "needed" not in pruner.needs or task.needed_grid is None:
        return
    grid = vlm.adapter.grid(vlm.model) if vlm.adapter.fixed_grid else None
    if task.needed_grid != grid:
        has = f"has {grid}" if grid else "has another for every size of image"
        raise ValueError(
            f"pruner {pruner.name!r} needs ground truth, which task {task.name!r} states on a grid of "
            f"{task.needed_grid}; this model {has}"
        )
