"""Paper-ready figures: one function per figure, tidy frames in, Matplotlib `Axes` out, as `Panels`.

`FIGURES` are those of the report; `STUDY_FIGURES` draw what the methods of `solvers.Study` return, `ATTENTION_FIGURES`
what the tables of `analysis.metrics` hold, beside published curves where there are any, `EXPERIMENT_FIGURES` the tables
of the experiments in `data/make`, `LATENCY_FIGURES` that of `benchmarks.latency`. `PAPER` lists, with `paper_tables`,
what `prunescope figures` builds, and from which tables.

A figure never computes a statistic: frames hold estimate, low and high already, in the columns that `frames` names.
No function touches pyplot, the backend or the reader's rcParams. A new figure is one file and one entry in
one of the five, and one in `PAPER`.
"""

from __future__ import annotations

from collections.abc import Callable

from .accuracy_by_task import accuracy_by_task as accuracy_by_task
from .accuracy_vs_budget import accuracy_vs_budget as accuracy_vs_budget
from .accuracy_vs_cost import accuracy_vs_cost as accuracy_vs_cost
from .accuracy_vs_latency import accuracy_vs_latency as accuracy_vs_latency
from .accuracy_vs_value import accuracy_vs_value as accuracy_vs_value
from .attention_maps import attention_maps as attention_maps
from .certified_gap import certified_gap as certified_gap
from .counted import counted as counted
from .counted import device_of as device_of
from .counted import phases_of as phases_of
from .critical_difference import critical_difference as critical_difference
from .dispersion import dispersion as dispersion
from .flops_vs_latency import flops_vs_latency as flops_vs_latency
from .gap_versus_time import gap_versus_time as gap_versus_time
from .head_atlas import head_atlas as head_atlas
from .index_profile import index_profile as index_profile
from .kept_tokens import kept_tokens as kept_tokens
from .layer_agreement import layer_agreement as layer_agreement
from .mass_curves import mass_curves as mass_curves
from .overlap import overlap as overlap
from .panels import Panels as Panels
from .pareto import pareto as pareto
from .performance_profile import performance_profile as performance_profile
from .position_maps import position_maps as position_maps
from .published import published_mass_curves as published_mass_curves
from .published import published_quartile_kept as published_quartile_kept
from .published import published_quartiles as published_quartiles
from .quartile_kept import quartile_kept as quartile_kept
from .roofline import roofline as roofline
from .score_accuracy import score_accuracy as score_accuracy
from .score_histogram import score_histogram as score_histogram
from .selection_frequency import selection_frequency as selection_frequency
from .shift import shift as shift
from .style import Saved as Saved
from .style import on_paper as on_paper
from .style import save as save
from .style import theme as theme
from .style import write as write

FIGURES: tuple[Callable[..., Panels], ...] = (
    dispersion,
    shift,
    attention_maps,
    certified_gap,
    accuracy_vs_budget,
    accuracy_by_task,
    accuracy_vs_cost,
    kept_tokens,
)

STUDY_FIGURES: tuple[Callable[..., Panels], ...] = (
    performance_profile,
    critical_difference,
    gap_versus_time,
    pareto,
    overlap,
)

ATTENTION_FIGURES: tuple[Callable[..., Panels], ...] = (
    mass_curves,
    score_histogram,
    index_profile,
    position_maps,
    selection_frequency,
    layer_agreement,
    head_atlas,
    quartile_kept,
)

EXPERIMENT_FIGURES: tuple[Callable[..., Panels], ...] = (accuracy_vs_value, score_accuracy)

LATENCY_FIGURES: tuple[Callable[..., Panels], ...] = (accuracy_vs_latency, flops_vs_latency, roofline)
