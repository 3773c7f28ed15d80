"""Provenance: what identifies the code behind a number."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import solvers
from solvers import Greedy, Random, provenance
from solvers.provenance import code_digest, own_code_digest


def test_every_entry_is_text():
    assert {"prunescope", "numpy", "ortools", "commit", "cpu"} <= set(provenance())
    assert all(isinstance(value, str) and value for value in provenance().values())


def test_the_digest_is_of_the_sources_wherever_they_lie(tmp_path):
    package = tmp_path / "solvers"
    shutil.copytree(Path(solvers.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))

    def digest():
        # Loaded on its own: importing the whole copy would compile its kernels anew.
        code = "import runpy; print(runpy.run_path('provenance.py', run_name='solvers.provenance')['code_digest']())"
        return subprocess.run(
            [sys.executable, "-c", code], cwd=package, capture_output=True, check=True, text=True
        ).stdout

    assert digest().strip() == code_digest()
    changed = package / "rules" / "rule.py"
    changed.write_text(changed.read_text() + "\n")
    assert digest() != code_digest()


class Mine(Greedy):
    """Somebody else's solver."""


def test_only_classes_of_others_have_a_digest_of_their_own():
    assert own_code_digest(Greedy()) == own_code_digest(Random()) == ""
    assert len(own_code_digest(Mine())) == 16
    assert own_code_digest(Mine()) != own_code_digest(type("Mine", (Greedy,), {"__module__": "nowhere"})())
