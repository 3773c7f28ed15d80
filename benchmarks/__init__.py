"""Speed of `solvers` next to its peers, measured in one run: `python -m benchmarks.solvers` from the repository root.

Importing this package limits the process and its children to one thread. The libraries read these variables when they
are first imported, so that has to come before NumPy.
"""

from __future__ import annotations

import os

THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

for _name in THREAD_LIMITS:
    os.environ[_name] = "1"
