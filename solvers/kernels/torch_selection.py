"""Loops over picks for many images at once, on whatever device their tensors lie.

Nothing in these loops is brought to the host: tokens stay indices on the device, so that a GPU is handed all its work
without a wait. Facility location is exact arithmetic on the fixed-point grid, and distances are the same float64
operations as on the CPU, so that the picks are equal. Conditional variances agree to the last bits of float64, and
those of equal tokens are equal: every sum runs down the columns of one tensor, and no column is summed in another order
than its neighbour.

Memory traffic per image: facility location recomputes all gains at each pick, about 28 n^2 bytes (difference, float64
copy and sum), because finding out which rows changed would have to wait for the device; so 28 k n^2 bytes over the
bandwidth of the device is its limit. A log-determinant reads its Cholesky rows and writes and reads their product,
12 k^2 n bytes in all. Max-min passes over n^2 distances for the first pick, then reads 8 n bytes per pick.
"""

from __future__ import annotations

import torch
from torch import Tensor


def greedy_cover(coverage: Tensor, budget: int) -> Tensor:
    """Tokens int64 [image, budget] of greedy facility location, from coverages float32 [image, token, token]."""
    best = coverage.new_zeros(coverage.shape[:2])
    taken = torch.zeros_like(best, dtype=torch.bool)
    picks = []
    for _ in range(budget):
        gains = (coverage - best[:, :, None]).clamp_(min=0.0).sum(dim=1, dtype=torch.float64)
        token = gains.masked_fill_(taken, -torch.inf).argmax(dim=1, keepdim=True)
        best = torch.maximum(best, _rows(coverage, token))
        taken.scatter_(1, token, True)
        picks.append(token)
    return torch.cat(picks, dim=1)


def map_picks(kernel: Tensor, variances: Tensor, budget: int) -> tuple[Tensor, Tensor]:
    """Greedy MAP inference from kernels float64 [image, token, token] with `variances` [image, token] for a diagonal.

    Returns
    -------
    Tokens int64 [image, budget], and the smallest conditional variance met [image]: a kernel for which that is not
    positive is not positive definite, and its tokens mean nothing.
    """
    images, tokens = variances.shape
    rows = kernel.new_empty((images, budget, tokens))
    taken = torch.zeros_like(variances, dtype=torch.bool)
    lowest = torch.full_like(variances[:, :1], torch.inf)
    picks = []
    for pick in range(budget):
        token = variances.masked_fill(taken, -torch.inf).argmax(dim=1, keepdim=True)
        variance = variances.gather(1, token)
        lowest = torch.minimum(lowest, variance)
        weights = rows[:, :pick].gather(2, token[:, None].expand(-1, pick, -1))
        row = (_rows(kernel, token) - (weights * rows[:, :pick]).sum(dim=1)) * variance.rsqrt()
        rows[:, pick] = row
        variances = variances - row * row
        taken.scatter_(1, token, True)
        picks.append(token)
    others = variances.masked_fill(taken, torch.inf).amin(dim=1)
    return torch.cat(picks, dim=1), torch.minimum(lowest[:, 0], others)


def spread_similarity(similarity: Tensor, chord: bool, budget: int) -> Tensor:
    """Tokens int64 [image, budget] of greedy for the smallest distance, from float64 [image, token, token]."""
    size = similarity.diagonal(dim1=1, dim2=2)
    apart = ((size[:, :, None] + size[:, None]) / 2 - similarity).clamp_(min=0.0)
    if chord:
        apart = (2.0 * apart).sqrt_()
    apart.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    nearest = apart.amin(dim=2) if apart.shape[1] > 1 else torch.zeros_like(size)
    apart.diagonal(dim1=1, dim2=2).fill_(0.0)
    value = torch.zeros_like(nearest[:, :1])
    picks: list[Tensor] = []
    for pick in range(budget):
        token = (nearest - value).argmax(dim=1, keepdim=True)
        value = nearest.gather(1, token)
        row = _rows(apart, token)
        nearest = (torch.minimum(nearest, row) if pick else row).scatter(1, token, -torch.inf)
        picks.append(token)
    return torch.cat(picks, dim=1)


def _rows(matrices: Tensor, token: Tensor) -> Tensor:
    """Row `token` [image, 1] of each of the matrices [image, token, token]."""
    return matrices.gather(1, token[:, :, None].expand(-1, -1, matrices.shape[2])).squeeze(1)
