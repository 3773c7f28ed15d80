"""Paper-ready figures: one function per figure, tidy frames in, a Matplotlib `Figure` out.

A figure never computes a statistic: frames hold estimate, low and high already, in the columns that `frames` names.
No function touches pyplot, the backend or the reader's rcParams. A new figure is one file and one entry in `FIGURES`.
"""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure as Figure

from .accuracy_by_task import accuracy_by_task as accuracy_by_task
from .accuracy_vs_budget import accuracy_vs_budget as accuracy_vs_budget
from .accuracy_vs_cost import accuracy_vs_cost as accuracy_vs_cost
from .attention_maps import attention_maps as attention_maps
from .certified_gap import certified_gap as certified_gap
from .dispersion import dispersion as dispersion
from .kept_tokens import kept_tokens as kept_tokens
from .shift import shift as shift
from .style import Saved as Saved
from .style import save as save
from .style import theme as theme

FIGURES: tuple[Callable[..., Figure], ...] = (
    dispersion,
    shift,
    attention_maps,
    certified_gap,
    accuracy_vs_budget,
    accuracy_by_task,
    accuracy_vs_cost,
    kept_tokens,
)
