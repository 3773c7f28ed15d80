"""Mixture: a weighted sum of other objectives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array
from ..problem import Problem
from .facility_location import FacilityLocation
from .objective import AbstractObjective
from .saliency import Saliency


@dataclass
class MixtureState:
    """States of the parts, in their order."""

    parts: list[Any]


@dataclass(frozen=True)
class Mixture(AbstractObjective[MixtureState]):
    """f(S) = sum over parts p of weight_p f_p(S). Monotone or submodular where all parts are declared so.

    Parameters
    ----------
    parts
        At least one objective.
    weights
        Positive, finite, one per part. Objectives come in units of their own: facility location is worth up to n,
        a softmax signal up to 1.

    Examples
    --------
    >>> Mixture((FacilityLocation(), Saliency("relevance")), (1.0, 20.0)).name
    '1 FacilityLocation + 20 Saliency(signal=relevance)'
    """

    parts: tuple[AbstractObjective[Any], ...] = (FacilityLocation(), Saliency())
    weights: tuple[float, ...] = (1.0, 1.0)
    monotone: ClassVar[bool] = False
    submodular: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "weights", tuple(float(weight) for weight in self.weights))
        if not self.parts or len(self.parts) != len(self.weights):
            raise ValueError(
                f"`weights` must have one entry for each of at least one part, got {len(self.weights)} for "
                f"{len(self.parts)} parts"
            )
        if not all(math.isfinite(weight) and weight > 0 for weight in self.weights):
            raise ValueError(f"`weights` must be positive and finite, got {self.weights}")
        # Facts of the instance: a sum with positive weights inherits what all its parts have.
        object.__setattr__(self, "monotone", all(part.monotone for part in self.parts))
        object.__setattr__(self, "submodular", all(part.submodular for part in self.parts))

    @property
    def name(self) -> str:
        """Weights and names of the parts: "1 FacilityLocation + 1 Saliency"."""
        return " + ".join(f"{weight:.12g} {part.name}" for weight, part in zip(self.weights, self.parts, strict=True))

    def supports(self, problem: Problem) -> str | None:
        return next((reason for part in self.parts if (reason := part.supports(problem)) is not None), None)

    def value(self, problem: Problem, selected: npt.ArrayLike) -> float:
        weighted = zip(self.weights, self.parts, strict=True)
        return math.fsum(weight * part.value(problem, selected) for weight, part in weighted)

    def start(self, problem: Problem) -> MixtureState:
        return MixtureState([part.start(problem) for part in self.parts])

    def gains(self, state: MixtureState) -> Float64Array:
        gains = np.zeros(1)
        for weight, part, inner in zip(self.weights, self.parts, state.parts, strict=True):
            gains = gains + weight * part.gains(inner)
        return gains

    def add(self, state: MixtureState, token: int) -> MixtureState:
        state.parts = [part.add(inner, token) for part, inner in zip(self.parts, state.parts, strict=True)]
        return state
