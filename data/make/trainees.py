"""The model of a size and the trainee around it: the one place that knows which of them belong together."""

from __future__ import annotations

from .model import Size, Trainee, build_model
from .tiled import TiledTrainee, build_tiled_model


def new_trainee(size: Size) -> Trainee:
    """Random weights; crops where `size.tiles` asks for them."""
    if size.tiles > 1:
        return TiledTrainee(build_tiled_model(size))
    return Trainee(build_model(size))
