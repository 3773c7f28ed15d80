"""What `prunescope figures` builds: every figure and table of a methods paper, and the inputs that each needs.

A new one is one entry; a new input is one entry in `analysis.commands.figure_inputs`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import pandas as pd

from .accuracy_by_task import accuracy_by_task
from .accuracy_vs_budget import accuracy_vs_budget
from .accuracy_vs_cost import accuracy_vs_cost
from .accuracy_vs_latency import accuracy_vs_latency
from .accuracy_vs_value import accuracy_vs_value
from .attention_maps import attention_maps
from .certified_gap import certified_gap
from .critical_difference import critical_difference
from .dispersion import dispersion
from .flops_vs_latency import flops_vs_latency
from .gap_versus_time import gap_versus_time
from .head_atlas import head_atlas
from .index_profile import index_profile
from .kept_tokens import kept_tokens
from .layer_agreement import layer_agreement
from .mass_curves import mass_curves
from .overlap import overlap
from .panels import Panels
from .paper_tables import accuracy_tabular, cost_tabular, gap_tabular, task_tabular
from .pareto import pareto
from .performance_profile import performance_profile
from .pictures import Picture
from .position_maps import position_maps
from .published import published_mass_curves, published_quartile_kept
from .quartile_kept import quartile_kept
from .roofline import roofline
from .score_accuracy import score_accuracy
from .score_histogram import score_histogram
from .selection_frequency import selection_frequency
from .shift import shift


class Example(NamedTuple):
    """One picture and a question, and what each method keeps of it."""

    image_id: int | str
    image: Picture
    question: str
    grid: tuple[int, int]
    kept: Mapping[str, list[int]]
    needed: list[int]


class PaperFigure(NamedTuple):
    """A figure, the names of what is handed to it, and the function that draws it."""

    name: str
    inputs: tuple[str, ...]
    draw: Callable[..., Panels]

    @property
    def caption(self) -> str:
        """What the figure shows, in a sentence."""
        return _first_sentence(self.draw)


class PaperTable(NamedTuple):
    """A table, the names of what is handed to it, and the function that sets it in LaTeX."""

    name: str
    inputs: tuple[str, ...]
    write: Callable[..., str]

    @property
    def caption(self) -> str:
        """What the table holds, in a sentence."""
        return _first_sentence(self.write)


def _first_sentence(function: Callable[..., Any]) -> str:
    while isinstance(function, partial):
        function = function.func
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())


def mass_curves_beside_published(curves: pd.DataFrame) -> Panels:
    """Cumulative attention per layer: the top p % of the tokens hold q % of it; published curves as markers in ink."""
    return mass_curves(curves, published=published_mass_curves())


def quartile_kept_beside_published(kept: pd.DataFrame) -> Panels:
    """Accuracy when from layer K on a single index quartile is visible, of our model and as published."""
    return quartile_kept(pd.concat([kept, published_quartile_kept()], ignore_index=True))


def maps_over_image(example: Example, maps: Mapping[str, Any]) -> Panels:
    """Attention over one image, by layer; every map has a colour scale of its own."""
    return attention_maps(example.image, maps)


def kept_by_method(example: Example) -> Panels:
    """Tokens that each method keeps of one image, the others faded; tokens that the question needs are outlined."""
    return kept_tokens(example.image, example.kept, example.grid, needed=example.needed, title=example.question)


PAPER: Final = (
    PaperFigure("dispersion", ("attention",), dispersion),
    PaperFigure("shift", ("quartiles",), shift),
    PaperFigure("mass_curves", ("curves",), mass_curves_beside_published),
    PaperFigure("score_histogram", ("histogram",), score_histogram),
    PaperFigure("index_profile", ("profile",), index_profile),
    PaperFigure("position_maps", ("profile",), position_maps),
    PaperFigure("selection_frequency", ("frequency",), selection_frequency),
    PaperFigure("layer_agreement", ("agreement",), layer_agreement),
    PaperFigure("head_atlas", ("heads",), head_atlas),
    PaperFigure("attention_maps", ("example", "maps"), maps_over_image),
    PaperFigure("quartile_kept", ("quartile_kept",), quartile_kept_beside_published),
    PaperFigure("score_accuracy", ("scores",), score_accuracy),
    PaperFigure("accuracy_vs_budget", ("accuracy",), accuracy_vs_budget),
    PaperFigure("accuracy_by_task", ("accuracy",), accuracy_by_task),
    PaperFigure("accuracy_vs_cost", ("accuracy", "cost"), accuracy_vs_cost),
    PaperFigure("accuracy_vs_value", ("optimising",), accuracy_vs_value),
    PaperFigure("accuracy_vs_latency", ("accuracy", "latency"), accuracy_vs_latency),
    PaperFigure("flops_vs_latency", ("work",), flops_vs_latency),
    PaperFigure("roofline", ("phases", "device"), roofline),
    PaperFigure("certified_gap", ("selection",), certified_gap),
    PaperFigure("performance_profile", ("performance",), performance_profile),
    PaperFigure("critical_difference", ("ranks",), critical_difference),
    PaperFigure("gap_versus_time", ("progress",), gap_versus_time),
    PaperFigure("pareto", ("front",), pareto),
    PaperFigure("overlap", ("overlap",), overlap),
    PaperFigure("kept_tokens", ("example",), kept_by_method),
)

PAPER_TABLES: Final = (
    PaperTable("accuracy_table", ("accuracy",), accuracy_tabular),
    PaperTable("task_table", ("accuracy",), task_tabular),
    PaperTable("gap_table", ("selection",), gap_tabular),
    PaperTable("cost_table", ("cost",), cost_tabular),
)
