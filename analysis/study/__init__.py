"""The study: from a model to a report, in stages that resume.

`run_study` is what the command `prunescope study` calls.
"""

from __future__ import annotations

from .run import StudyError as StudyError
from .run import run_study as run_study
from .settings import DEFAULT as DEFAULT
from .settings import FAST as FAST
from .settings import Settings as Settings
