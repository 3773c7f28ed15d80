"""Objectives: saliency (modular), coverage, diversity, and mixtures of them."""

from __future__ import annotations

from typing import Any

from .covering_radius import CoveringRadius as CoveringRadius
from .facility_location import FacilityLocation as FacilityLocation
from .gram_log_det import GramLogDet as GramLogDet
from .graph_cut import GraphCut as GraphCut
from .log_det import LogDet as LogDet
from .max_min import MaxMin as MaxMin
from .max_sum import MaxSum as MaxSum
from .mixture import Mixture as Mixture
from .multimodal_facility_location import MultimodalFacilityLocation as MultimodalFacilityLocation
from .objective import AbstractObjective as AbstractObjective
from .relevance_minus_redundancy import RelevanceMinusRedundancy as RelevanceMinusRedundancy
from .saliency import Saliency as Saliency
from .saturated_coverage import SaturatedCoverage as SaturatedCoverage
from .weighted_facility_location import WeightedFacilityLocation as WeightedFacilityLocation

OBJECTIVES: tuple[type[AbstractObjective[Any]], ...] = (
    Saliency,
    FacilityLocation,
    WeightedFacilityLocation,
    MultimodalFacilityLocation,
    SaturatedCoverage,
    GraphCut,
    LogDet,
    GramLogDet,
    MaxMin,
    MaxSum,
    CoveringRadius,
    RelevanceMinusRedundancy,
    Mixture,
)
"""Every objective of the package; each can be built without arguments."""
