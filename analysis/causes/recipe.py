"""Which code measured a row: rows of two versions must not stand in one table."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from solvers.provenance import code_digest, sources_digest

READ = ("capture", "causes", "evaluation", "metrics", "models", "pruning")
"""Packages of `analysis` that the rows of an experiment depend on."""


@functools.cache
def recipe() -> str:
    """Sixteen digits that differ between versions of the code behind the experiments, `solvers` included.

    For the binding of a store of rows: a run that is continued after the code changed is refused, instead of mixing
    what two versions measured. As strict as can be, as nobody knows which line matters: a changed comment counts. Read
    when the package is imported: files that are edited later are not what runs.
    """
    home = Path(__file__).parents[1]
    parts = [code_digest(), *(sources_digest(home / name) for name in READ)]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


recipe()
