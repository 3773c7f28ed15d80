"""Captures shard argv[2] of argv[3] into the store argv[1]; run by test_shared_dumps.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from analysis.capture import capture_dataset

spec = importlib.util.spec_from_file_location("tiny", Path(__file__).parents[1] / "conftest.py")
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)
samples = [
    (
        100 + seed,
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)),
        tiny.TINY_QUESTIONS[seed % 3],
    )
    for seed in range(7)
]
shard = int(sys.argv[2]), int(sys.argv[3])
capture_dataset(tiny.build_tiny_vlm(), samples, sys.argv[1], batch_size=2, shard=shard, progress=False)
