"""`select_batch` where the similarity is a torch tensor on an accelerator: checks and slices, picks on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .batch import checked_step, indefinite
from .kernels.torch_selection import greedy_cover, map_picks, spread_similarity
from .objectives import AbstractObjective, FacilityLocation, LogDet, MaxMin

CHUNK_BYTES = 2**30
"""Size of the float64 similarities that are worked on at a time."""

ASYMMETRY = 1e-6
"""Largest asymmetry that is averaged out, relative to the largest value: that of `Problem.from_similarity`."""


def select(similarity: Tensor, keep: int, objective: AbstractObjective[Any], check: bool) -> Tensor:
    """Tokens int64 [image, keep] in pick order, on the device of the similarity [image, token, token]."""
    images, tokens, _ = similarity.shape
    size = max(1, CHUNK_BYTES // (8 * tokens * tokens))
    selected = torch.empty((images, keep), dtype=torch.int64, device=similarity.device)
    for start in range(0, images, size):
        chunk = similarity[start : start + size].double()
        if check:
            chunk = _checked(chunk, start)
        selected[start : start + size] = METHODS[type(objective)](chunk, keep, objective, start)
    return selected


def _checked(similarity: Tensor, start: int) -> Tensor:
    bad = (~similarity.isfinite()).sum(dim=(1, 2))
    skew = (similarity - similarity.mT).abs().amax(dim=(1, 2))
    crooked = skew > ASYMMETRY * similarity.abs().amax(dim=(1, 2)).clamp(min=1e-300)
    wrong = (bad > 0) | crooked
    if bool(wrong.any()):
        image = int(wrong.int().argmax())
        about = f"image {start + image}: `similarity` must be"
        if bad[image]:
            of = similarity[image].numel()
            raise ValueError(f"{about} finite, got {int(bad[image])} NaN or infinite of {of} values")
        raise ValueError(f"{about} symmetric, got a largest asymmetry of {float(skew[image]):.3g}")
    return (similarity + similarity.mT) / 2


def _facility_location(similarity: Tensor, keep: int, objective: FacilityLocation, start: int) -> Tensor:
    # On the host, by the code that single images use: a logarithm may round differently elsewhere.
    largest = similarity.amax(dim=(1, 2)).tolist()
    steps = [checked_step(value, start + image) for image, value in enumerate(largest)]
    step = similarity.new_tensor(steps)[:, None, None]
    return greedy_cover(((similarity.clamp(min=0.0) / step).round_() * step).float(), keep)


def _log_det(similarity: Tensor, keep: int, objective: LogDet, start: int) -> Tensor:
    picks, lowest = map_picks(similarity, similarity.diagonal(dim1=1, dim2=2) + objective.ridge, keep)
    wrong = ~(lowest > 0.0)
    if bool(wrong.any()):
        raise ValueError(indefinite(objective, start + int(wrong.int().argmax())))
    return picks


def _max_min(similarity: Tensor, keep: int, objective: MaxMin, start: int) -> Tensor:
    return spread_similarity(similarity, objective.distance == "chord", keep)


METHODS: dict[type[AbstractObjective[Any]], Callable[[Tensor, int, Any, int], Tensor]] = {
    FacilityLocation: _facility_location,
    LogDet: _log_det,
    MaxMin: _max_min,
}
"""The objectives of `solvers.batch.METHODS`."""
