"""One answer, with the visual tokens it was given from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What a question got under one setting.

    Attributes
    ----------
    prediction
        The text.
    by_layer
        Visual tokens in each layer of the language model.
    kept
        Visual tokens in the last layer that attends to any.
    n_text
        Text tokens of the prompt.
    milliseconds
        Wall time of the selection; NaN where it cannot be told from the rest.
    """

    prediction: str
    by_layer: tuple[int, ...]
    kept: int
    n_text: int
    milliseconds: float


def run_lengths(counts: Sequence[int]) -> str:
    """Numbers by layer as text: "2x576 4x64" for two layers of 576 and four of 64."""
    parts: list[list[int]] = []
    for count in counts:
        if not parts or parts[-1][1] != count:
            parts.append([0, count])
        parts[-1][0] += 1
    return " ".join(f"{layers}x{count}" for layers, count in parts)
