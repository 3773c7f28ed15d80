"""Problems to test and measure on: CLIP-like features, planted optima, and tokens of the embedded model.

clip_like      features with the statistics of CLIP patches, at any size
planted_...    a problem with its best selection, known by construction and argued in the docstring
load, names    real instances, from `data/instances`
"""

from __future__ import annotations

from .planted import KnownOptimum as KnownOptimum
from .planted import planted_blocks as planted_blocks
from .planted import planted_clusters as planted_clusters
from .planted import planted_duplicates as planted_duplicates
from .planted import planted_packing as planted_packing
from .recorded import load as load
from .recorded import names as names
from .synthetic import clip_like as clip_like
