"""What a model must reach on the embedded benchmark before differences between pruners on it are worth reading.

measure    everything that is looked at, from the answers to the questions
judge      a `Check` per bound, with its value; `passed` says whether all hold, `printed` is a page of them
"""

from __future__ import annotations

from .bounds import BUDGET as BUDGET
from .bounds import FLOORS as FLOORS
from .bounds import LEVEL as LEVEL
from .bounds import Check as Check
from .bounds import judge as judge
from .bounds import passed as passed
from .bounds import printed as printed
from .evidence import NeededAlone as NeededAlone
from .evidence import WithoutNeeded as WithoutNeeded
from .evidence import judge_needed as judge_needed
from .evidence import measure_needed as measure_needed
from .measured import CHECKED_IMAGES as CHECKED_IMAGES
from .measured import Measured as Measured
from .measured import Trainings as Trainings
from .measured import majority_priors as majority_priors
from .measured import measure as measure
from .measured import measure_compact as measure_compact
from .measured import measure_fastv as measure_fastv
from .measured import megabytes as megabytes
from .measured import recorded_time as recorded_time
from .measured import recorded_trainings as recorded_trainings
from .packing import measure_packed as measure_packed
