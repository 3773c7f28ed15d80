"""Objectives: saliency (modular), facility location (coverage), log-determinant and max-min (diversity)."""

from __future__ import annotations

from typing import Any

from .facility_location import FacilityLocation as FacilityLocation
from .log_det import LogDet as LogDet
from .max_min import MaxMin as MaxMin
from .objective import AbstractObjective as AbstractObjective
from .saliency import Saliency as Saliency

OBJECTIVES: tuple[type[AbstractObjective[Any]], ...] = (Saliency, FacilityLocation, LogDet, MaxMin)
"""Every objective of the package; each can be built without arguments."""
