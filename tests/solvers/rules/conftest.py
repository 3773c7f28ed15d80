"""Inputs shared by the tests of the published rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


class GoldenStream:
    """The linear congruential generator that the golden vectors are made with: one running stream per seed."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def fill(self, *shape: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        values = []
        for _ in range(int(np.prod(shape))):
            self.state = (1103515245 * self.state + 12345) % 2**31
            values.append((high - low) * (self.state / 2**31) + low)
        return np.array(values).reshape(shape)


@pytest.fixture(scope="session")
def golden_stream() -> type[GoldenStream]:
    return GoldenStream


@pytest.fixture(scope="session")
def rule_evidence() -> Callable[..., dict[str, Any]]:
    """Everything a rule can ask for, without ties, for rows x columns tokens."""

    def make(seed: int = 0, rows: int = 5, columns: int = 6, dim: int = 40) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        tokens = rows * columns
        logits = rng.normal(size=(tokens, tokens))
        # A share of each row goes to a token outside the map, as with CLS dropped after the softmax.
        attention_map = np.exp(logits) / (np.exp(logits).sum(axis=1) + rng.random(tokens))[:, None]
        return {
            "features": rng.normal(size=(tokens, dim)) + 0.5,
            "attention": rng.random(tokens),
            "attention_map": attention_map,
            "relevance": rng.normal(size=tokens),
            "text": rng.normal(size=dim),
            "grid": (rows, columns),
            "words": rng.normal(size=(7, dim)),
            "keys": rng.normal(size=(tokens, dim)),
            "hidden": rng.normal(size=(tokens, dim)),
            "first_attention": rng.random(tokens),
            "tiles": (2, 2),
            "text_keys": rng.normal(size=(6, dim)),
        }

    return make
