"""Pruning inside the language model: from a layer on, fewer visual tokens.

stage       what such a pruner is
evidence    what it gets to see at a stage
heard       evidence, out of the layers of a running model
packing     which columns are left, and the masks that belong to them
batch       prompts as they enter the first layer
prefill     prompts on their way through the layers
step        decoding behind them
side        what these two share
hooks       the hooks that do it for `forward` and `generate`
"""

from __future__ import annotations

from solvers.rules import Stage

from .evidence import StageEvidence
from .stage import AbstractInnerPruner

__all__ = ["AbstractInnerPruner", "Stage", "StageEvidence"]
