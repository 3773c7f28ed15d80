"""What is measured next to peers: greedy selection, batches, local search. Each function is one entry of `WORKS`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from solvers import (
    AbstractObjective,
    AbstractSolver,
    DppMap,
    FacilityLocation,
    FarthestFirst,
    Greedy,
    KDpp,
    LocalSearch,
    LogDet,
    MaxMin,
    Problem,
)
from solvers.arrays import IntArray
from solvers.batch import select_batch
from solvers.objectives.facility_location import coverage

from . import peers, torch_loops
from .rows import RATIO, Row
from .setting import Setting, forget, total

FL, DPP, SPREAD = FacilityLocation(), LogDet(), MaxMin()
IMAGES = 32


def solving(solver: AbstractSolver, problem: Problem, objective: AbstractObjective[Any]) -> Callable[[], list[int]]:
    """Call of the public `solve`, its checks and the value of its selection included."""

    def call() -> list[int]:
        forget(problem, "coverage totals")
        result: list[int] = solver.solve(problem, objective).selected.tolist()
        return result

    return call


def choosing(solver: AbstractSolver, problem: Problem, objective: AbstractObjective[Any]) -> Callable[[], list[int]]:
    """Call of the choice alone, without the checks, the random generator and the value that `solve` adds."""
    rng = np.random.default_rng(0)

    def call() -> list[int]:
        forget(problem, "coverage totals")
        result: list[int] = solver._solve(problem, objective, rng, None).selected.tolist()
        return result

    return call


def both(
    setting: Setting,
    work: str,
    problem: Problem,
    solver: AbstractSolver,
    objective: AbstractObjective[Any],
    others: dict[str, Any],
    **needs: bool,
) -> list[Row]:
    """Rows of the public call, then of the choice alone, for which no target is stated."""
    value, row = total([problem], objective), about(work, problem, solver)
    rows = setting.against(row, solving(solver, problem, objective), others, value, **needs)
    row = about(work, problem, f"{solver.name}, choice alone")
    alone = {name: (prepare, None) for name, (prepare, _) in others.items()}
    return rows + setting.against(row, choosing(solver, problem, objective), alone, value)


def about(work: str, problem: Problem, solver: AbstractSolver | str, images: int = 1) -> Row:
    """Row with names and sizes."""
    ours = solver if isinstance(solver, str) else f"{solver.name}.solve"
    return Row(work, problem.id, problem.tokens, problem.budget, images, ours)


def facility_location(setting: Setting) -> list[Row]:
    """Greedy facility location against submodlib and the three exact optimizers of apricot."""
    rows = []
    for tiles, keep, lazy, apricot in ((1, 64, 30, 40), (5, 192, 15, 15)):
        problem = setting.problem(keep, tiles=tiles)
        matrix = coverage(problem)
        others: dict[str, Any] = {
            "submodlib-py LazyGreedy": (
                partial(peers.submodlib_facility_location, matrix, problem.budget),
                setting.target(RATIO, lazy),
            )
        }
        for optimizer in ("lazy", "two-stage", "naive"):
            prepare = partial(peers.apricot_facility_location, matrix, problem.budget, optimizer)
            others[f"apricot-select {optimizer}, compiled once"] = (prepare, setting.target(RATIO, apricot))
        rows += both(setting, "facility location greedy", problem, Greedy(), FL, others, same=True)
    return rows


def dpp_map(setting: Setting) -> list[Row]:
    """Greedy MAP of a DPP against submodlib and the loop of CDPruner, float32 as there and float64 as here."""
    problem = setting.problem(64)
    kernel = torch.from_numpy(DPP.kernel(problem).copy())[None]
    others: dict[str, Any] = {
        "submodlib-py LogDeterminant LazyGreedy": (
            partial(peers.submodlib_log_det, problem.similarity, DPP.ridge, problem.budget),
            setting.target(RATIO, 15),
        ),
        "torch loop, float32": (
            torch_call(torch_loops.dpp_map, kernel.float(), problem.budget),
            setting.target(RATIO, 20),
        ),
        "torch loop, float64": (torch_call(torch_loops.dpp_map, kernel, problem.budget), None),
    }
    return both(setting, "DPP MAP", problem, DppMap(), DPP, others)


def max_min(setting: Setting) -> list[Row]:
    """Farthest-first from token 0, where submodlib starts too, since without a first token all are worth nothing."""
    problem, solver = setting.problem(64), FarthestFirst(first=0)
    others: dict[str, Any] = {
        "submodlib-py DisparityMin NaiveGreedy": (
            partial(peers.submodlib_max_min, problem.similarity, problem.budget),
            setting.target(RATIO, 200),
        )
    }
    return both(setting, "max-min greedy", problem, solver, SPREAD, others, same=True)


def from_features(setting: Setting) -> list[Row]:
    """DPP MAP and farthest-first on features, no similarity given, against float32 product and then a torch loop."""
    rows = []
    for tiles in (1, 5):
        problem = setting.problem(64, tiles=tiles)
        assert problem.features is not None
        unit = torch.from_numpy(problem.features.copy())
        cases: tuple[tuple[str, AbstractSolver, AbstractObjective[Any], Callable[..., torch.Tensor]], ...] = (
            ("DPP MAP from features", DppMap(from_features=True), DPP, _dpp_of_features),
            ("max-min from features", FarthestFirst(first=0, from_features=True), SPREAD, _max_min_of_features),
        )
        for work, solver, objective, loop in cases:
            # A problem of its own: the other one has its similarity already.
            bare = Problem.from_features(problem.features, problem.budget, id=problem.id)
            others: dict[str, Any] = {"torch product and loop, float32": (torch_call(loop, unit, problem.budget), None)}
            row = about(work, problem, f"{solver.name}, choice alone")
            rows += setting.against(row, choosing(solver, bare, objective), others, total([problem], objective))
    return rows


def _dpp_of_features(unit: torch.Tensor, keep: int) -> torch.Tensor:
    return torch_loops.dpp_map((unit @ unit.T + DPP.ridge * torch.eye(len(unit)))[None], keep)


def _max_min_of_features(unit: torch.Tensor, keep: int) -> torch.Tensor:
    return torch_loops.max_min((1.0 - unit @ unit.T)[None], torch.tensor([0]), keep)


def batches(setting: Setting) -> list[Row]:
    """32 images at once from their similarity in float32, checked or not, against the batched torch loops.

    A target is about the same work: from the similarity to the tokens. The rows "prepared" give the torch loop what it
    needs made beforehand: coverage, kernel, distances and the first pick; `select_batch` always makes them itself.
    """
    problems = [setting.problem(64, seed=seed) for seed in range(IMAGES if setting.shrink == 1 else 4)]
    keep = problems[0].budget
    similarity = np.stack([problem.similarity for problem in problems]).astype(np.float32)
    given = torch.from_numpy(similarity)
    rows = []
    for objective, prepare, loop, least in TORCH_BATCHES:
        prepared = prepare(given)
        calls: dict[str, tuple[Callable[[], torch.Tensor], bool]] = {
            "torch batched loop, float32": (partial(_from_similarity, prepare, loop, given, keep), True),
            "torch batched loop, float32, prepared": (partial(loop, *prepared, keep), False),
        }
        if objective is DPP:
            calls["torch batched loop, float64"] = (
                partial(_from_similarity, prepare, loop, given.double(), keep),
                False,
            )
        for check in (True, False):
            ours = f"select_batch {objective.name}{'' if check else ', check=False'}"
            row = about(f"batch {objective.name}", problems[0], ours, len(problems))
            call = partial(select_batch, similarity, keep, objective, check=check)
            others: dict[str, Any] = {
                name: (partial(ready, peer), setting.target(RATIO, least) if check and same_work else None)
                for name, (peer, same_work) in calls.items()
            }
            rows += setting.against(row, call, others, total(problems, objective))
    return rows


def _from_similarity(
    prepare: Callable[[torch.Tensor], tuple[torch.Tensor, ...]],
    loop: Callable[..., torch.Tensor],
    given: torch.Tensor,
    keep: int,
) -> torch.Tensor:
    return loop(*prepare(given), keep)


def _spread(given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances and the most isolated token, DivPrune's first."""
    distances = 1.0 - given
    isolation = distances + torch.diag(torch.full((given.shape[1],), torch.inf, dtype=given.dtype))
    return distances, isolation.amin(dim=2).argmax(dim=1)


TORCH_BATCHES: tuple[
    tuple[
        AbstractObjective[Any],
        Callable[[torch.Tensor], tuple[torch.Tensor, ...]],
        Callable[..., torch.Tensor],
        float,
    ],
    ...,
] = (
    (FL, lambda given: (given.clamp_min(0.0),), torch_loops.facility_location, 20),
    (DPP, lambda given: (given + DPP.ridge * torch.eye(given.shape[1]),), torch_loops.dpp_map, 3),
    (SPREAD, _spread, torch_loops.max_min, 3),
)
"""Objective, what its torch loop needs made of the similarity, the loop, and the ratio to reach."""


def local_search(setting: Setting) -> list[Row]:
    """Swaps from the greedy selection; the time of greedy, ours in both, is part of both times."""
    rows = []
    for tiles, keep in ((1, 64), (1, 192), (5, 192)):
        problem, solver = setting.problem(keep, tiles=tiles), LocalSearch()
        start = partial(greedy, problem)
        judged = setting.target(RATIO, 1) if (tiles, keep) == (1, 64) else None
        others: dict[str, Any] = {
            "kmedoids fasterpam from our greedy": (
                partial(peers.kmedoids_fasterpam, coverage(problem), start),
                judged,
            )
        }
        row = about("facility location local search", problem, solver)
        rows += setting.against(row, solving(solver, problem, FL), others, total([problem], FL), at_least=True)
    return rows


def sampling(setting: Setting) -> list[Row]:
    """Exact k-DPP samples, the decomposition done before by both.

    DPPy also on a float32 product of the features: for 2880 tokens of width 1024 rounding makes its zero eigenvalues
    negative enough to be refused.
    """
    rows = []
    for tiles in (1, 5):
        problem, solver = setting.problem(64, tiles=tiles), KDpp()
        assert problem.features is not None
        product = problem.features @ problem.features.T
        kernels = {"dppy k-DPP, same kernel": DPP.kernel(problem), "dppy k-DPP, float32 product": product}
        others: dict[str, Any] = {
            name: (partial(peers.dppy_k_dpp, kernel, problem.budget), None) for name, kernel in kernels.items()
        }
        row = about("k-DPP sample", problem, solver)
        rows += setting.against(row, solving(solver, problem, DPP), others, None)
    return rows


def greedy(problem: Problem) -> IntArray:
    """Our greedy selection, made anew."""
    forget(problem, "coverage totals")
    return Greedy().solve(problem, FL).selected


def ready(call: Callable[[], Any]) -> Callable[[], Any]:
    """Setup of a call that needs none."""
    return call


def torch_call(loop: Callable[..., torch.Tensor], matrices: torch.Tensor, keep: int) -> Callable[[], Callable[[], Any]]:
    """Setup that returns the call of a torch loop on one image."""
    return lambda: lambda: loop(matrices, keep)[0].tolist()
