"""Choose which k of n visual tokens stay: selection as combinatorial optimisation.

Problem         what is known about the tokens of one image, and how many may stay
OBJECTIVES      what a selection is scored by
Partition, ...  which selections are allowed: `solvers.constraints`
SOLVERS         how a selection is found
RULES           published selection rules, pure functions of arrays in `solvers.rules`
Solution        what comes back: selection, value, upper bound, status
instances       problems to test on: CLIP-like, with planted optima, and real ones
theory          curvature, and which guarantee holds for a solver and why
compare         every solver on every problem, as one table with certified gaps

The tuples in capitals are the whole registry: a new objective or solver is one file and one entry.
"""

from __future__ import annotations

from . import instances as instances
from . import theory as theory
from .baselines import FarthestFirst as FarthestFirst
from .baselines import Random as Random
from .baselines import TopK as TopK
from .baselines import UniformGrid as UniformGrid
from .batch import select_batch as select_batch
from .certificate import Certificate as Certificate
from .compare import compare as compare
from .compare import default_solvers as default_solvers
from .constraints import Cardinality as Cardinality
from .constraints import Conflict as Conflict
from .constraints import Forced as Forced
from .constraints import Partition as Partition
from .constraints import WholeRows as WholeRows
from .dpp import DppMap as DppMap
from .dpp import KDpp as KDpp
from .exact import BruteForce as BruteForce
from .exact import Exact as Exact
from .greedy import Greedy as Greedy
from .greedy import LazyGreedy as LazyGreedy
from .greedy import StochasticGreedy as StochasticGreedy
from .greedy import ThresholdGreedy as ThresholdGreedy
from .local_search import LocalSearch as LocalSearch
from .non_maximum_suppression import NonMaximumSuppression as NonMaximumSuppression
from .objectives import OBJECTIVES as OBJECTIVES
from .objectives import AbstractObjective as AbstractObjective
from .objectives import CoveringRadius as CoveringRadius
from .objectives import FacilityLocation as FacilityLocation
from .objectives import GramLogDet as GramLogDet
from .objectives import GraphCut as GraphCut
from .objectives import LogDet as LogDet
from .objectives import MaxMin as MaxMin
from .objectives import MaxSum as MaxSum
from .objectives import Mixture as Mixture
from .objectives import MultimodalFacilityLocation as MultimodalFacilityLocation
from .objectives import RelevanceMinusRedundancy as RelevanceMinusRedundancy
from .objectives import Saliency as Saliency
from .objectives import SaturatedCoverage as SaturatedCoverage
from .objectives import WeightedFacilityLocation as WeightedFacilityLocation
from .problem import Problem as Problem
from .provenance import provenance as provenance
from .published import PublishedRule as PublishedRule
from .published import published_rules as published_rules
from .rules import RULES as RULES
from .rules import Rule as Rule
from .solution import Solution as Solution
from .solution import Status as Status
from .solver import AbstractSolver as AbstractSolver
from .study import Study as Study
from .study_statistics import CriticalDifference as CriticalDifference

SOLVERS: tuple[type[AbstractSolver], ...] = (
    TopK,
    Random,
    UniformGrid,
    FarthestFirst,
    NonMaximumSuppression,
    Greedy,
    LazyGreedy,
    StochasticGreedy,
    ThresholdGreedy,
    LocalSearch,
    DppMap,
    KDpp,
    Exact,
    BruteForce,
    PublishedRule,
)
"""Every solver of the package; each can be built without arguments."""
