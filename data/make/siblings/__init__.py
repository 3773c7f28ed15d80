"""Siblings of the embedded model. A new one is a recipe, a file here and an entry in `SIBLINGS`."""

from __future__ import annotations

from .next import NEXT
from .sibling import Sibling as Sibling
from .siglip import SIGLIP

SIBLINGS: tuple[Sibling, ...] = (SIGLIP, NEXT)
