"""The loops that people write in PyTorch: batched over images, one step per pick. B images, n tokens, k picks."""

from __future__ import annotations

import torch
from torch import Tensor


def facility_location(coverage: Tensor, keep: int) -> Tensor:
    """Greedy with all gains anew at each pick [B, k], for coverage [B, n, n]."""
    images = torch.arange(len(coverage))
    best = torch.zeros_like(coverage[:, 0])
    taken, raised = torch.zeros_like(best), torch.empty_like(coverage)
    picks = torch.empty(len(coverage), keep, dtype=torch.int64)
    for pick in range(keep):
        torch.maximum(coverage, best[:, None, :], out=raised)
        token = (raised.sum(dim=2) + taken).argmax(dim=1)
        picks[:, pick], taken[images, token] = token, -torch.inf
        best = torch.maximum(best, coverage[images, token])
    return picks


def dpp_map(kernel: Tensor, keep: int) -> Tensor:
    """Fast greedy MAP inference (Chen, Zhang and Zhou, 2018) [B, k], for kernels [B, n, n]: the loop of CDPruner."""
    images = torch.arange(len(kernel))
    variances = kernel.diagonal(dim1=1, dim2=2).clone()
    rows = kernel.new_zeros(len(kernel), keep, kernel.shape[1])
    picks = torch.empty(len(kernel), keep, dtype=torch.int64)
    for pick in range(keep):
        token = variances.argmax(dim=1)
        row = kernel[images, token]
        if pick:
            row = row - torch.bmm(rows[images, :pick, token][:, None], rows[:, :pick])[:, 0]
        row = row / variances[images, token].clamp_min(1e-12).sqrt()[:, None]
        variances = variances - row * row
        rows[:, pick], picks[:, pick], variances[images, token] = row, token, -torch.inf
    return picks


def max_min(distances: Tensor, first: Tensor, keep: int) -> Tensor:
    """Farthest-first traversal [B, k] from `first` [B], for distances [B, n, n]: the loop of DivPrune."""
    images = torch.arange(len(distances))
    nearest = distances[images, first].clone()
    nearest[images, first] = -1.0
    picks = torch.empty(len(distances), keep, dtype=torch.int64)
    picks[:, 0] = first
    for pick in range(1, keep):
        token = nearest.argmax(dim=1)
        nearest = torch.minimum(nearest, distances[images, token])
        picks[:, pick], nearest[images, token] = token, -1.0
    return picks
