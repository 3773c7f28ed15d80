"""What pruning did: the tokens kept, and how many reached each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from solvers.arrays import Float64Array, IntArray

if TYPE_CHECKING:
    from .selection import Kept


@dataclass
class PruningLog:
    """The latest batch of prompts under `prune`; empty before the first.

    Attributes
    ----------
    layers
        Layers of the language model.
    position_ids
        The policy in use, "keep" or "compact".
    kept
        Per prompt the visual tokens that entered the language model, ascending indices among all placeholders.
    visual_tokens
        int64 [prompt, layer]: how many visual tokens reached each layer. Separators that stay count.
    """

    layers: int
    position_ids: str
    kept: list[IntArray] = field(default_factory=list)
    visual_tokens: IntArray = field(default_factory=lambda: np.empty((0, 0), dtype=np.int64))

    @property
    def average(self) -> Float64Array:
        """Visual tokens of each prompt, mean over layers [prompt]: what budgets of different methods compare by."""
        return np.asarray(self.visual_tokens.mean(1), dtype=np.float64)

    def before_language_model(self, placeholders: Sequence[int], kept: Sequence[Kept], policy: str) -> None:
        """A batch was shortened before the first layer, or left whole."""
        self.position_ids = policy
        self.kept = [part.places for part in kept]
        counts = np.array([len(part.places) for part in kept], dtype=np.int64)
        self.visual_tokens = np.repeat(counts[:, None], self.layers, axis=1)

    def beside_prompts(self, kept: Sequence[Kept], layers: Sequence[int]) -> None:
        """Tokens beside a batch of prompts were pruned or left whole; only `layers` attend to them."""
        self.before_language_model([], kept, self.position_ids)
        self.visual_tokens[:, [layer for layer in range(self.layers) if layer not in layers]] = 0

    def inside(self, layer: int, counts: IntArray) -> None:
        """From `layer` on only `counts` [prompt] visual tokens are left."""
        self.visual_tokens[:, layer:] = counts[:, None]
