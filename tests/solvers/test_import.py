"""What importing the package costs, and that its loops compile where nothing can be cached."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import solvers
from solvers.kernels.jit import fused

HEAVY = ("torch", "transformers", "matplotlib", "seaborn", "ortools", "scipy.linalg", "scipy.cluster", "xarray", "dask")


def test_importing_solvers_imports_nothing_heavy():
    code = f"import sys, solvers; print([name for name in {HEAVY} if name in sys.modules])"
    environment = os.environ | {"PYTHONPATH": str(Path(solvers.__file__).parents[1])}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_loops_compile_without_a_folder_for_the_cache():
    """Code without a file has no place in the cache, like an installation in which nothing can be written."""
    namespace = {}
    exec("def double(x):\n    return 2 * x", namespace)
    assert fused(namespace["double"])(21) == 42
