"""Evaluates the model in argv[1] on the questions in argv[2] with two processes into the store argv[3], and interrupts
itself, as Ctrl-C does, once three parts are there; run by test_sharding.py."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch

from analysis.evaluation import MiniVqa, evaluate
from analysis.models import load

torch.set_num_threads(1)
model, questions, store = sys.argv[1:4]


def interrupt() -> None:
    while len(list(Path(store).rglob("[!.]*.parquet"))) < 3:
        time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGINT)


class Toy(MiniVqa):
    needed_grid = (6, 6)


threading.Thread(target=interrupt, daemon=True).start()
pruners = ["vispruner", "cdpruner", "random", "oracle", "fastv"]
try:
    evaluate(load(model), Toy(path=questions), pruners, (9, 4), n_jobs=2, store=store, max_new_tokens=3, progress=False)
except KeyboardInterrupt:
    sys.exit(130)
