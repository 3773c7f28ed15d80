"""What an objective is: a set function over tokens with incremental marginal gains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import numpy.typing as npt

from ..arrays import Float64Array
from ..names import described
from ..problem import Problem

State = TypeVar("State")


@dataclass(frozen=True)
class AbstractObjective(ABC, Generic[State]):
    """A set function to maximise. Subclasses are frozen dataclasses of parameters; they never see a solver.

    `monotone` and `submodular` are facts that hold for every valid problem; False means that some problem breaks them,
    or that it is not known. Where they depend on the parameters, an instance states them for itself.
    """

    monotone: ClassVar[bool]
    submodular: ClassVar[bool]

    @property
    def name(self) -> str:
        """Class name, with the parameters that are not at their defaults: "Saliency(signal=relevance)"."""
        return described(self)

    def supports(self, problem: Problem) -> str | None:
        """None if the objective is defined on `problem`, else a sentence with the reason."""
        return None

    @abstractmethod
    def value(self, problem: Problem, selected: npt.ArrayLike) -> float:
        """Value of the set `selected` of token indices, computed from scratch; the order has no influence."""

    @abstractmethod
    def start(self, problem: Problem) -> State:
        """State of the empty selection."""

    @abstractmethod
    def gains(self, state: State) -> Float64Array:
        """Gain of adding each token [token]; -inf for those selected. A view: copy it to keep it beyond `add`."""

    @abstractmethod
    def add(self, state: State, token: int) -> State:
        """State after adding `token`, which must not be selected yet. Consumes `state`: its storage may be reused."""
