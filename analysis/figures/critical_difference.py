"""Which solvers differ by more than chance."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from solvers.study_statistics import CriticalDifference

from .palette import INK, MUTED, solver_look
from .panels import Panels, themed
from .style import width

ROW = 0.19
"""Height of a name, in inches, the unit of the vertical axis."""


@themed
def critical_difference(result: CriticalDifference) -> Panels:
    """Demsar's diagram (2006): solvers on the axis of mean ranks, bars over those that are not shown to differ.

    Parameters
    ----------
    result
        What `Study.critical_difference` returns. Without a significant Friedman test (printed on top) no pair
        is to be called different.

    Raises
    ------
    ValueError
        If a group names a solver without a rank.
    """
    ranks = {str(name): float(rank) for name, rank in result.ranks.items()}
    strangers = [name for group in result.groups for name in group if name not in ranks]
    if strangers:
        raise ValueError(f"`groups` must name ranked solvers, got {strangers[0]!r}")
    left = (len(ranks) + 1) // 2
    bars = 0.11 * len(result.groups)
    figure = Figure(figsize=(width(), 1.0 + bars + ROW * left))
    ax = figure.subplots()
    top = len(ranks)
    _scale(ax, top, result)
    for level, group in enumerate(result.groups):
        places = [ranks[name] for name in group]
        height = 0.11 * (level + 1)
        ax.plot([min(places) - 0.04, max(places) + 0.04], [height] * 2, color=INK, linewidth=2.6, solid_capstyle="butt")
    for place, (name, rank) in enumerate(sorted(ranks.items(), key=lambda entry: entry[1])):
        on_left = place < left
        depth = bars + ROW * (place + 1 if on_left else len(ranks) - place)
        _name(ax, name, rank, depth, edge=1 if on_left else top, outwards=-1 if on_left else 1)
    ax.set_ylim(bars + ROW * (left + 0.6), -0.78)
    margin = 0.36 * (top - 1)
    ax.set_xlim(1 - margin, max(top + margin, 1.1 + result.difference))
    ax.set_axis_off()
    return Panels(figure)


def _scale(ax: Axes, top: int, result: CriticalDifference) -> None:
    ax.plot([1, top], [0, 0], color=INK, linewidth=0.8)
    for rank in range(1, top + 1):
        ax.plot([rank, rank], [0, -0.05], color=INK, linewidth=0.8)
        ax.text(rank, -0.08, str(rank), ha="center", va="bottom", fontsize=7)
    end = 1 + result.difference
    ax.plot([1, 1, end, end], [-0.32, -0.36, -0.36, -0.32], color=MUTED, linewidth=0.8)
    text = f"Critical difference {result.difference:.2f} at level {result.alpha:g}"
    ax.text(1, -0.39, text, ha="left", va="bottom", fontsize=7, color=MUTED)
    p_value = "p < 0.001" if result.p_value < 0.001 else f"p = {result.p_value:.3f}"
    test = f"Mean rank on {result.instances} instances; Friedman test {p_value}"
    ax.text(1, -0.57, test, ha="left", va="bottom", fontsize=7, color=MUTED)


def _name(ax: Axes, name: str, rank: float, depth: float, *, edge: int, outwards: int) -> None:
    style = solver_look(name)
    reach = edge + outwards * 0.03 * max(abs(ax.get_xlim()[1] - ax.get_xlim()[0]), 1.0)
    ax.plot([rank, rank, reach], [0, depth, depth], color=style.color, linewidth=0.8)
    ax.plot([rank], [0], color=style.color, marker=style.marker, clip_on=False, zorder=3)
    ax.annotate(
        f"{style.label}  {rank:.2f}" if outwards < 0 else f"{rank:.2f}  {style.label}",
        (reach, depth),
        xytext=(3 * outwards, 0),
        textcoords="offset points",
        ha="right" if outwards < 0 else "left",
        va="center",
        fontsize=7,
        color=INK,
    )
