"""Evaluates into the store argv[1] until the process kills itself while it writes part number argv[2]; run by
test_evaluate.py."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd

from analysis.evaluation import evaluate


def neighbour(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.parent.name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


store, fatal = sys.argv[1], int(sys.argv[2])
stock_write, written = pd.DataFrame.to_parquet, []


def write_or_die(self: pd.DataFrame, path: Path, **options: object) -> None:
    written.append(path)
    if len(written) == fatal:
        Path(path).write_bytes(b"PAR1 half a part")
        os.kill(os.getpid(), signal.SIGKILL)
    stock_write(self, path, **options)


pd.DataFrame.to_parquet = write_or_die
here = Path(__file__).parent
vlm = neighbour(here.parent / "conftest.py").build_tiny_vlm()
task = neighbour(here / "conftest.py").ToyTask(20)
evaluate(vlm, task, ["vispruner"], (9, 4), store=store, max_new_tokens=3, progress=False)
