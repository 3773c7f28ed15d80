"""The benchmarks a pruner can be evaluated on. `TASKS` is the whole registry: a new one is a file and an entry."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from solvers.names import nearest

from .benchmark import AbstractBenchmark as AbstractBenchmark
from .gqa import Gqa as Gqa
from .manifest import Manifest as Manifest
from .mini_vqa import MiniVqa as MiniVqa
from .mmbench import MmBench as MmBench
from .mme import Mme as Mme
from .pope import Pope as Pope
from .scienceqa import ScienceQa as ScienceQa
from .task import AbstractTask as AbstractTask
from .task import Question as Question
from .task import Sample as Sample
from .textvqa import TextVqa as TextVqa
from .vqav2 import VqaV2 as VqaV2

TASKS: tuple[type[AbstractTask], ...] = (MiniVqa, Pope, Gqa, TextVqa, VqaV2, Mme, ScienceQa, MmBench, Manifest)


def task(name: str, **options: Any) -> AbstractTask:
    """The benchmark called `name`, built with `options`.

    Raises
    ------
    KeyError
        If there is none of that name; the nearest is suggested.
    ValueError
        If an option without default is not given: all but the embedded benchmark read a copy of yours, in a folder.

    Examples
    --------
    >>> task("mini_vqa", split="validation", images=16)  # doctest: +SKIP
    >>> task("pope", folder="data/pope", scorer="lmms-eval")  # doctest: +SKIP
    """
    known = {kind.name: kind for kind in TASKS}
    kind: Any = known[nearest(name, known, "task")]
    needed = [item.name for item in fields(kind) if item.default is MISSING and item.default_factory is MISSING]
    missing = [option for option in needed if option not in options]
    if missing:
        call = ", ".join(f"{option}=..." for option in missing)
        raise ValueError(f"task {name!r} needs {' and '.join(missing)}: write {kind.__name__}({call})")
    built: AbstractTask = kind(**options)
    return built
