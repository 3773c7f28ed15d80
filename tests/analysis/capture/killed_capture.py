"""Captures into the store argv[1] until the process kills itself in the middle of a batch; run by test_dataset.py."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from analysis.capture import capture_dataset
from analysis.capture.dump import DumpWriter

calls: list[str] = []
stock_set = DumpWriter._set


def set_or_die(self: DumpWriter, name: str, start: int, values: object) -> None:
    calls.append(name)
    if calls.count("question") == 3:  # attention and ids are written, the mark is not
        os.kill(os.getpid(), signal.SIGKILL)
    stock_set(self, name, start, values)


DumpWriter._set = set_or_die
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
capture_dataset(tiny.build_tiny_vlm(), samples, sys.argv[1], batch_size=2, progress=False)
