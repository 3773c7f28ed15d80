"""Selection for many images at once: the picks of the single-image solvers, one thread per image, or on the device."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import FloatArray, IntArray
from .kernels.contents import contents
from .kernels.coverage import fixed_point, greedy_cover
from .kernels.determinant import map_picks
from .kernels.dispersion import spread_similarity
from .objectives import AbstractObjective, FacilityLocation, LogDet, MaxMin
from .objectives.facility_location import SCALES, grid_step, scale_reason
from .problem import Problem

Picker = Callable[[FloatArray, int], IntArray]
"""Chooses the tokens [keep] of one image from its similarity [token, token] and its number, which errors name."""


def select_batch(
    similarity: Any,
    keep: int,
    objective: AbstractObjective[Any] | None = None,
    *,
    threads: int = 1,
    check: bool = True,
) -> Any:
    """Choose `keep` tokens of each image of a batch.

    The picks are those of `Greedy()` under `FacilityLocation` and `MaxMin` (DivPrune's rule), and of `DppMap()` under
    `LogDet`, on each image alone, whatever the size of the batch and the number of threads.

    It takes the similarity and not the features because the similarity is most of the work (about 4 ms of a float32
    Gram matrix per image of 576 tokens, against 0.1 to 0.3 ms for the choice), and its precision is the caller's call.

    Parameters
    ----------
    similarity
        Symmetric similarity [image, token, token], a NumPy array or a torch tensor of real numbers. A tensor on an
        accelerator is worked on where it lies, without a synchronisation per pick. Asymmetry up to 1e-6 of the scale of
        an image is averaged out. Negative values cover nothing under `FacilityLocation`.
    keep
        Number of tokens k to keep of each image, in [1, n].
    objective
        `FacilityLocation()` (the default), `LogDet()` with any ridge and no signal, or `MaxMin()` with any distance.
    threads
        Number of threads among which the images on the CPU are shared out; each image is one thread's work. Threads do
        not outlive the call, so that forking before or after it is safe.
    check
        Whether to look for NaN, infinity and asymmetry, one pass over each image. Without it the caller
        vouches that the similarity is finite and symmetric; picks from one that is not mean nothing.

    Returns
    -------
    int64 [image, keep]
        Tokens in pick order, ties to the lowest index; an array or a tensor on the device of the input.

    Raises
    ------
    ValueError
        For an unknown objective, a wrong shape or dtype, `keep` or `threads` out of range, NaN or infinite values,
        asymmetry, a scale that facility location cannot represent, or a similarity that shows itself indefinite under
        `LogDet`: in the batch that is seen from the picks, without the eigenvalues that `DppMap` looks at.

    Examples
    --------
    >>> import numpy as np
    >>> select_batch(np.stack([np.eye(4), np.ones((4, 4))]), 2)
    array([[0, 1],
           [0, 1]])
    """
    objective = FacilityLocation() if objective is None else objective
    method = METHODS.get(type(objective))
    if method is None or getattr(objective, "signal", None) is not None:
        known = "FacilityLocation(), LogDet() without a signal, or MaxMin()"
        raise ValueError(f"`objective` must be {known}, got {getattr(objective, 'name', objective)!r}")
    if not isinstance(threads, (int, np.integer)) or isinstance(threads, bool) or threads < 1:
        raise ValueError(f"`threads` must be an integer of at least 1, got {threads!r}")
    torch = sys.modules.get("torch")  # whoever has a tensor has imported it
    if torch is None or not isinstance(similarity, torch.Tensor):
        batch = np.asarray(similarity)
        _check_frame(batch.shape, keep, batch.dtype, batch.dtype.kind in "fiub")
        return _on_cpu(batch, int(keep), method(objective, int(keep)), int(threads), check)
    _check_frame(tuple(similarity.shape), keep, similarity.dtype, not similarity.is_complex())
    if similarity.device.type == "cpu":
        batch = (similarity.float() if similarity.dtype is torch.bfloat16 else similarity).detach().numpy()
        return torch.from_numpy(_on_cpu(batch, int(keep), method(objective, int(keep)), int(threads), check))
    from .batch_on_device import select

    return select(similarity.detach(), int(keep), objective, check)


def _check_frame(shape: tuple[int, ...], keep: int, dtype: object, real: bool) -> None:
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] == 0:
        raise ValueError(f"`similarity` must have shape [image, token, token], got {shape}")
    if not real:
        raise ValueError(f"`similarity` must be an array of real numbers, got dtype {dtype}")
    if isinstance(keep, bool) or not isinstance(keep, (int, np.integer)) or not 1 <= keep <= shape[1]:
        raise ValueError(f"`keep` must be in [1, {shape[1]}], got {keep!r}")


def _on_cpu(batch: npt.NDArray[Any], keep: int, make: Callable[[int], Picker], threads: int, check: bool) -> IntArray:
    images = len(batch)
    selected = np.empty((images, keep), dtype=np.int64)

    def work(part: range) -> None:
        pick = make(batch.shape[1])
        for image in part:
            selected[image] = pick(_prepared(batch[image], check, image), image)

    workers = max(1, min(threads, images))
    parts = [range(images * worker // workers, images * (worker + 1) // workers) for worker in range(workers)]
    if workers == 1:
        work(parts[0])
    else:
        with ThreadPoolExecutor(workers) as pool:
            # In order, so that the error raised is that of the first bad image.
            for done in [pool.submit(work, part) for part in parts]:
                done.result()
    return selected


def _prepared(image: npt.NDArray[Any], check: bool, number: int) -> FloatArray:
    """The image as a C-ordered float32 or float64 matrix, symmetric and finite if that is to be checked."""
    if image.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        image = image.astype(np.float32 if image.dtype == np.float16 else np.float64)
    # Always read-only, so that each loop is compiled for one kind of array.
    matrix: FloatArray = np.ascontiguousarray(image).view()
    matrix.flags.writeable = False
    if not check:
        return matrix
    found = contents(matrix)
    if not (found.finite and found.symmetric):
        try:
            return Problem.from_similarity(matrix, 1).similarity  # averages a small asymmetry out
        except ValueError as error:
            raise ValueError(f"image {number}: {error}") from None
    return matrix


def _facility_location(objective: FacilityLocation, keep: int) -> Callable[[int], Picker]:
    def make(tokens: int) -> Picker:
        buffer = np.empty((tokens, tokens), dtype=np.int32)
        steps = buffer.view()
        steps.flags.writeable = False

        def pick(matrix: FloatArray, image: int) -> IntArray:
            step = checked_step(float(matrix.max()), image)
            fixed_point(matrix, matrix.dtype.type(step), buffer)
            return greedy_cover(steps, keep)

        return pick

    return make


def checked_step(largest: float, image: int) -> float:
    """Grid step of the coverage of an image whose largest similarity is `largest`, or a ValueError."""
    if largest > 0 and not SCALES[0] <= largest <= SCALES[1]:
        raise ValueError(f"image {image}: {scale_reason(Problem.from_similarity([[largest]], 1))}")
    return grid_step(np.array(max(largest, 0.0)))


def _log_det(objective: LogDet, keep: int) -> Callable[[int], Picker]:
    def make(tokens: int) -> Picker:
        no_floor = np.full(tokens, -np.inf)

        def pick(matrix: FloatArray, image: int) -> IntArray:
            picks = map_picks(matrix, np.diag(matrix).astype(np.float64) + objective.ridge, no_floor, keep)
            if not picks.lowest > 0.0:
                raise ValueError(indefinite(objective, image))
            return picks.selected

        return pick

    return make


def indefinite(objective: LogDet, image: int) -> str:
    """What is wrong with an image of which a conditional variance is not positive."""
    return (
        f"image {image}: the similarity must be positive semidefinite (up to ridge {objective.ridge:g}) "
        "for a log-determinant"
    )


def _max_min(objective: MaxMin, keep: int) -> Callable[[int], Picker]:
    return lambda tokens: lambda matrix, image: spread_similarity(matrix, objective.distance == "chord", keep)


METHODS: dict[type[AbstractObjective[Any]], Callable[[Any, int], Callable[[int], Picker]]] = {
    FacilityLocation: _facility_location,
    LogDet: _log_det,
    MaxMin: _max_min,
}
"""For exactly these objectives there is a loop over whole images; given tokens, each makes a picker for one thread."""
