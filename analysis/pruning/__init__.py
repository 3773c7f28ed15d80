"""Pruning: the only place where models and selection rules meet.

prune           context manager: the stock model sees the kept visual tokens only
PRUNERS         what chooses them
encode_images   one vision pass with all a pruner may want to know
inputs          shortened inputs of the language model, for those who run it themselves
"""

from __future__ import annotations

from . import inputs, pruners
from .encode import Encoded, encode_images
from .inputs import PositionPolicy
from .prune import prune
from .pruner import AbstractPruner
from .pruners import PRUNERS, pruner
from .tokens import VisualTokens

__all__ = [
    "PRUNERS",
    "AbstractPruner",
    "Encoded",
    "PositionPolicy",
    "VisualTokens",
    "encode_images",
    "inputs",
    "prune",
    "pruner",
    "pruners",
]
