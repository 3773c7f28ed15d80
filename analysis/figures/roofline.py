"""What bounds prefill and decoding: arithmetic or memory traffic."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from . import frames
from .comparison import panels_of
from .counted import Device
from .layers import shades
from .palette import INK, MUTED
from .panels import Panels, themed
from .style import columns

LOOKS = {"prefill": ("Prefill", "#0A43B0", "o"), "decode": ("Decoding", "#B3511B", "s")}
"""Printed name, hue and marker of a phase."""


@themed
def roofline(phases: pd.DataFrame, device: Device) -> Panels:
    """Attained FLOP/s over FLOPs per byte, a panel per model, under the roof of the device (Williams et al., 2009).

    Points under the slope wait for memory, those under the flat part for arithmetic; the distance to the roof is what
    neither explains. Dark points see all visual tokens, lighter ones fewer.

    Parameters
    ----------
    phases
        Columns `frames.PHASES`, as `phases_of` returns: phase "prefill" or "decode", bytes the least that must be read.
    device
        Peaks that the data sheet names, as `device_of` finds them.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, a phase is another one, or a number is not positive.
    """
    frames.PHASES.check(phases)
    strange = sorted(set(phases["phase"]) - set(LOOKS))
    if strange:
        raise ValueError(f"`phase` must be prefill or decode, got {', '.join(map(str, strange))}")
    numbers = phases[["flops", "bytes", "seconds"]].to_numpy(dtype=np.float64)
    if not (np.isfinite(numbers).all() and (numbers > 0).all()):
        raise ValueError("`flops`, `bytes` and `seconds` must be finite and above 0")
    rows = phases.assign(intensity=numbers[:, 0] / numbers[:, 1], attained=numbers[:, 0] / numbers[:, 2])
    rows["left"] = rows["keep"] / rows["of"]
    models = [str(model) for model in rows["model"].unique()]
    figure, panels = panels_of(models, columns(4, 1.6), 2.6)
    for ax, model in zip(panels, models, strict=True):
        _roof(ax, device, rows)
        _points(ax, rows[rows["model"] == model])
    figure.supylabel("Attained TFLOP/s", fontsize=8)
    figure.supxlabel("FLOPs per byte of weights and cache", fontsize=8)
    handles = [
        Line2D([], [], color=hue, marker=marker, linestyle="", label=label) for label, hue, marker in LOOKS.values()
    ]
    handles.append(Line2D([], [], color=INK, linewidth=1.0, label=f"Roof of the {device.name}"))
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), handlelength=1.4)
    return Panels(figure)


def _roof(ax: Axes, device: Device, rows: pd.DataFrame) -> None:
    ridge = device.flops / device.bandwidth
    left, right = min(0.5, float(rows["intensity"].min()) / 2), max(2 * ridge, float(rows["intensity"].max()) * 2)
    x = np.array([left, ridge, right])
    ax.plot(x, np.minimum(x * device.bandwidth, device.flops), color=INK, linewidth=1.0)
    ax.axvline(ridge, color=MUTED, linewidth=0.6, linestyle=(0, (3, 2)), zorder=1.2)
    ax.set(xscale="log", yscale="log", xlim=(left, right))
    ax.set_ylim(float(rows["attained"].min()) / 3, device.flops * 3)
    ax.grid(visible=True, axis="both")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e12:g}"))


def _points(ax: Axes, rows: pd.DataFrame) -> None:
    shares = sorted(rows["left"].unique())
    for phase, (_, hue, marker) in LOOKS.items():
        for share, shade in zip(shares, shades(hue, len(shares)), strict=True):
            some = rows[(rows["phase"] == phase) & (rows["left"] == share)]
            ax.plot(some["intensity"], some["attained"], color=shade, marker=marker, linestyle="", markersize=3)
