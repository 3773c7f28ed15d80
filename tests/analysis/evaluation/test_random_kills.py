"""An evaluation killed with SIGKILL at a random moment goes on and ends as if nothing had happened.

PRUNESCOPE_KILLS says how often; what is killed in the middle of writing a part is in test_evaluate.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

from solvers.provenance import provenance

ROOT = Path(__file__).parents[3]
KILLS = int(os.environ.get("PRUNESCOPE_KILLS", "3"))
FLEETING = ["select_ms", *provenance()]


def test_evaluations_killed_at_random_moments_end_as_if_they_had_not_been(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed_at_random.py"), tmp_path, str(KILLS)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60 + 30 * KILLS,
    )
    assert run.returncode == 0, run.stderr
    trials = [tuple(map(int, line.split())) for line in run.stdout.splitlines()]
    assert len(trials) == KILLS
    assert all(0 <= left < total for left, total in trials)  # each was killed with something still to do
    whole = pd.read_parquet(tmp_path / "whole.parquet").drop(columns=FLEETING)
    assert len(whole) == 5 * sum(2 + image % 3 for image in range(40))
    for number in range(KILLS):
        resumed = pd.read_parquet(tmp_path / f"resumed{number}.parquet").drop(columns=FLEETING)
        pd.testing.assert_frame_equal(resumed, whole)
