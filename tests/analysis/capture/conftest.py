"""Samples to capture."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PIL import Image

SAMPLE_QUESTIONS = (
    "what color is the circle ?",
    "is there a red square ?",
    "how many star is there on the green sign ?",
)


@pytest.fixture
def samples(tiny_image: Callable[[int], Image.Image]) -> list[tuple[int, Image.Image, str]]:
    """Seven (id, picture, question)."""
    return [(100 + seed, tiny_image(seed), SAMPLE_QUESTIONS[seed % 3]) for seed in range(7)]
