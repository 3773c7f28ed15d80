"""A folder is held by one process at a time, and no longer than that lives."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from data.make.alone import alone

HOLD = """
import sys, time
from pathlib import Path
from data.make.alone import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_folder_is_held_until_its_process_is_killed(tmp_path):
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RuntimeError, match=re.escape(f"one training at a time, {folder} is in use")), alone(folder):
            pytest.fail("two in one folder")
        other.kill()
    with alone(folder):
        pass


def test_an_error_inside_lets_go(tmp_path):
    with pytest.raises(ZeroDivisionError), alone(tmp_path):
        1 / 0  # noqa: B018
    with alone(tmp_path):
        pass
