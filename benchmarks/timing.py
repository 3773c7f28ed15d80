"""Times of calls that take turns, by processor and by wall clock."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

SAMPLE = 0.01
"""Processor seconds that a sample should last at least: a quicker call is made several times in a row. So the first of
them, which finds the caches full of what the peers used, weighs little on either side."""

HEAVY = 3.0
"""Seconds above which a call is made once only."""


class Timing(NamedTuple):
    """Time of one call."""

    cpu: float
    """Processor seconds of this process, median over the samples; a loaded machine hardly changes them."""
    wall: float
    """Elapsed seconds, median over the samples."""
    samples: int
    result: Any
    """What a call returned."""


def interleaved(calls: Mapping[str, Callable[[], Any]], samples: int = 7) -> dict[str, Timing | Exception]:
    """Time of each of `calls`, which take turns so that a slow spell of the machine meets all of them.

    The first call of each is not timed: it compiles, imports and fills caches. The next one, of a quick call the best
    of five, says how often a sample repeats it; a heavy call has no other sample. A call that fails has its exception
    instead.
    """
    outcomes = {name: _attempt(call) for name, call in calls.items()}
    seconds = {name: timing for name, timing in outcomes.items() if isinstance(timing, Timing)}
    repeats = {name: max(1, math.ceil(SAMPLE / max(timing.cpu, 1e-6))) for name, timing in seconds.items()}
    taken = {name: [timing] if timing.wall > HEAVY else [] for name, timing in seconds.items()}
    light = [name for name, already in taken.items() if not already]
    for _ in range(samples):
        for name in light:
            taken[name].append(timed(calls[name], repeats[name]))
    return outcomes | {name: _median(of_call, seconds[name].result) for name, of_call in taken.items()}


def _attempt(call: Callable[[], Any]) -> Timing | Exception:
    try:
        call()
        first = timed(call)
        return first if first.wall > SAMPLE else min([first, *(timed(call) for _ in range(4))], key=lambda one: one.cpu)
    except Exception as error:  # whatever a foreign package raises is a row of the table, not the end of the run
        return error


def timed(call: Callable[[], Any], repeats: int = 1) -> Timing:
    """One sample: `repeats` calls in a row, the collector off."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(repeats):
            result = call()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    finally:
        if collecting:
            gc.enable()
    return Timing(cpu / repeats, wall / repeats, 1, result)


def _median(samples: list[Timing], result: Any) -> Timing:
    cpu = statistics.median(sample.cpu for sample in samples)
    wall = statistics.median(sample.wall for sample in samples)
    return Timing(cpu, wall, len(samples), result)
