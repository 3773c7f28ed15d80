"""What is captured, as `capture_dataset` was asked to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..models import Vlm
from .encoder_pass import source_label
from .reducers import AbstractReducer


class Plan(NamedTuple):
    """Arguments of `capture_dataset` that stay the same for all images.

    Parameters
    ----------
    vlm, reducers, batch_size, dtype
        As for `capture_dataset`.
    coordinates
        Numbers of the layers, by axis.
    attributes
        Of the dump, without the grid.
    """

    vlm: Vlm
    reducers: Mapping[str, AbstractReducer]
    coordinates: Mapping[str, Sequence[int]]
    attributes: Mapping[str, Any]
    batch_size: int
    dtype: str

    def labels(self) -> dict[str, str]:
        """What each reducer keeps, in words."""
        vlm = self.vlm
        return {name: source_label(reducer, vlm.adapter, vlm.model) for name, reducer in self.reducers.items()}
