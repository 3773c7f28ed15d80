"""Counted work beside measured time: what the figures of a latency table are drawn from.

Times are measured and FLOPs are counted; neither is derived from the other.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import pandas as pd

from analysis.cost import SHIPPED, Architecture, Cost, architecture, cost
from solvers.names import unknown

from . import frames


class Device(NamedTuple):
    """Peaks of an accelerator that its data sheet names, per second."""

    name: str
    flops: float
    """Dense bfloat16 products with float32 sums, no sparsity."""
    bandwidth: float
    """Bytes of its memory."""


DEVICES: Final = (
    Device("H200", 989e12, 4.8e12),
    Device("H100 80GB HBM3", 989e12, 3.35e12),
    Device("A100-SXM4-80GB", 312e12, 2.039e12),
)
"""NVIDIA's data sheets of the H200 SXM, H100 SXM and A100 80GB SXM; names as parts of what CUDA calls the device."""


def device_of(latency: pd.DataFrame) -> Device:
    """The entry of `DEVICES` on which a latency table was measured.

    Raises
    ------
    ValueError
        If the table has no column `device`, several devices, or one without an entry.
    """
    names = latency["device"].unique().tolist() if "device" in latency.columns else []
    known = [device for device in DEVICES if len(names) == 1 and device.name in str(names[0])]
    if not known:
        listed = ", ".join(device.name for device in DEVICES)
        raise ValueError(f"`device` must be one of {listed}, got {', '.join(map(str, names)) or 'none'}")
    return known[0]


def counted(latency: pd.DataFrame) -> pd.DataFrame:
    """A latency table with the FLOPs until the first token: encoder, projector, prefill and one row of logits.

    Counted on the published architecture; the rule's own operations are left out, since its time is part of the
    measured one. A pruner inside the language model counts at its mean number of visual tokens per layer.

    Parameters
    ----------
    latency
        Columns `frames.LATENCY`, `words` and `new`, as `benchmarks.latency` writes them; rows with a `note` failed and
        are left out.

    Returns
    -------
    pandas.DataFrame
        The same columns and `first_token_flops`, for `flops_vs_latency`.

    Raises
    ------
    ValueError
        If columns or rows are missing, a model is not one of the shipped architectures, or the table is of smaller
        models than these.
    """
    rows = frames.timed(latency)
    return rows.assign(first_token_flops=[float(entry.flops) for _, _, entry in _each(rows)])


def phases_of(latency: pd.DataFrame) -> pd.DataFrame:
    """FLOPs, least memory traffic and seconds of prefill and of a decoding step, two rows per row of a latency table.

    Bytes are those of the language model's matrices, each read once in either phase, and the cache: written by the
    prefill, read by a step. Activations are left out, so that real traffic is higher.

    Parameters
    ----------
    latency
        As for `counted`, with `prefill_ms` and `decode_ms`.

    Returns
    -------
    pandas.DataFrame
        Columns `frames.PHASES`.

    Raises
    ------
    ValueError
        As `counted`.
    """
    found: list[dict[str, Any]] = []
    for row, shape, entry in _each(frames.timed(latency)):
        weights = _weights(shape)
        prefill = {"phase": "prefill", "flops": 2.0 * entry.prefill, "seconds": row["prefill_ms"] / 1e3}
        step = cost(shape, entry.visual, entry.text, new=2)
        decode = {"phase": "decode", "flops": 2.0 * (step.decode + shape.head), "seconds": row["decode_ms"] / 1e3}
        about = {name: row[name] for name in ("model", "pruner", "keep", "of")}
        found.append(about | prefill | {"bytes": float(weights - shape.head * shape.value_bytes + entry.kv_bytes)})
        found.append(about | decode | {"bytes": float(weights + step.kv_bytes)})
    return pd.DataFrame(found)


def _each(rows: pd.DataFrame) -> list[tuple[dict[str, Any], Architecture, Cost]]:
    """Every row with its architecture, and what it costs to answer with one token."""
    records: list[dict[Any, Any]] = rows.to_dict("records")
    shapes = {str(row["model"]): _shape(row) for row in records if row["pruner"] == frames.FULL}
    found = []
    for row in records:
        if row["model"] not in shapes:
            raise ValueError(f"`latency` must have the row of the full model, pruner 'none', for {row['model']}")
        shape = shapes[row["model"]]
        visual = min(round(row["visual"]), shape.visual)
        found.append((row, shape, cost(shape, visual, int(row["words"]), new=1)))
    return found


def _shape(full: dict[Any, Any]) -> Architecture:
    """The published architecture that receives as many visual tokens, with the newlines of LLaVA-NeXT or without."""
    name = str(full["model"])
    if name not in SHIPPED:
        raise ValueError(unknown(name, SHIPPED, "model"))
    for unpad in (False, True):
        shape = architecture(name, unpad=unpad)
        if shape.visual == full["visual"]:
            return shape
    raise ValueError(f"{name} has {shape.visual} visual tokens, the table {full['visual']:g}: it is of a smaller model")


def _weights(shape: Architecture) -> int:
    """Bytes of the language model's matrices, its head among them."""
    return (sum(block.matrices for block in shape.layers) + shape.head) * shape.value_bytes
