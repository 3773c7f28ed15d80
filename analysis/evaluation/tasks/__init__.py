"""The benchmarks a pruner can be evaluated on. `TASKS` is the whole registry: a new one is a file and an entry."""

from __future__ import annotations

from typing import Any

from solvers.names import nearest

from .mini_vqa import MiniVqa as MiniVqa
from .task import AbstractTask as AbstractTask
from .task import Question as Question
from .task import Sample as Sample

TASKS: tuple[type[AbstractTask], ...] = (MiniVqa,)


def task(name: str, **options: Any) -> AbstractTask:
    """The benchmark called `name`, built with `options`.

    Raises
    ------
    KeyError
        If there is none of that name; the nearest is suggested.

    Examples
    --------
    >>> task("mini_vqa", split="validation", images=16)  # doctest: +SKIP
    """
    known = {kind.name: kind for kind in TASKS}
    return known[nearest(name, known, "task")](**options)
