"""What Jupyter shows of problems and solutions: a few facts as HTML, every text in it escaped."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Mapping

import numpy as np

from .arrays import FloatArray
from .problem import Problem
from .solution import Solution

CELL = 6
"""Pixels per token in the picture of a signal."""
SHADES = np.array([[250, 250, 250], [11, 47, 107]], dtype=np.float64)
"""Colour of the smallest and of the largest value."""


def problem_html(problem: Problem) -> str:
    """Size, budget and constraint, and a picture of each per-token signal where the tokens lie on a grid."""
    source = "similarity" if problem.features is None else f"features of {problem.features.shape[1]} numbers"
    shape = "" if problem.grid is None else f" ({problem.grid[0]} × {problem.grid[1]})"
    signals = sorted(problem.signals.items())
    facts = {
        "problem": problem.id,
        "tokens": f"{problem.tokens}{shape}, {source}, {problem.metric}",
        "budget": f"{problem.budget} ({problem.budget / problem.tokens:.1%})",
        "constraint": repr(problem.constraint),
        "signals": ", ".join(f"{name} {list(array.shape)}" for name, array in signals) or "none",
    }
    if problem.groups is not None:
        facts["groups"] = str(len(np.unique(problem.groups)))
    maps = [
        f"<td>{_picture(array.reshape(problem.grid))}<br>{html.escape(name)}</td>"
        for name, array in signals
        if problem.grid is not None and array.shape == (problem.tokens,)
    ]
    return _table(facts) + (f"\n<table><tr>{''.join(maps)}</tr></table>" if maps else "")


def solution_html(solution: Solution) -> str:
    """Value, bound and gap, with a bar that is full where the gap is 0, and how the run ended."""
    known = math.isfinite(solution.upper_bound)
    facts = {
        "value": f"{solution.value:.6g} with {solution.selected.size} tokens",
        "upper bound": f"{solution.upper_bound:.6g}" if known else "none known",
        "gap": f"{solution.gap:.4g} ({solution.relative_gap:.4%} of the value)" if known else "unknown",
        "time": f"{solution.seconds:.4f} s, {solution.evaluations} evaluations",
        "status": solution.status.value,
    }
    return _table(facts) + (f"\n{_bar(1 - min(1.0, solution.relative_gap))}" if known else "")


def _table(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><th>{name}</th><td>{html.escape(fact)}</td></tr>" for name, fact in facts.items())
    return f"<table>{rows}</table>"


def _bar(share: float) -> str:
    """The proven part of a bound; its width is an attribute, which code hosts keep where they drop styles."""
    return f'<progress value="{share:.6f}" max="1" title="value as a share of what is possible at most"></progress>'


def _picture(values: FloatArray) -> str:
    """One square per token [row, column], from the smallest value (light) to the largest (dark)."""
    from PIL import Image  # only notebooks need it

    low, high = float(values.min()), float(values.max())
    share = (np.asarray(values, dtype=np.float64) - low) / ((high - low) or 1.0)
    pixels = SHADES[0] + share[..., None] * (SHADES[1] - SHADES[0])
    buffer = io.BytesIO()
    Image.fromarray(pixels.round().astype(np.uint8)).resize(
        (CELL * values.shape[1], CELL * values.shape[0]), Image.Resampling.NEAREST
    ).save(buffer, "PNG", optimize=True)
    return f'<img src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
