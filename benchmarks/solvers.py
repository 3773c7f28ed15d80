"""`python -m benchmarks.solvers [--quick] [--only SECTION] [--out FILE]`: `solvers` next to its peers, one thread.

Similarity is given: what a package makes of it beforehand is not timed, on either side. Calls take turns in one process
and medians of at least seven are reported, by processor and by wall clock; ratios and verdicts go by processor time.
See benchmarks/README.md for the protocol, and for how each peer is called.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from rich.console import Console
from rich.table import Table

from solvers.files import replacing
from solvers.kernels import warm_up
from solvers.names import nearest
from solvers.provenance import provenance

from . import THREAD_LIMITS
from .beginnings import cold_start, similarity
from .proofs import certified_gap, log_det_proof, proven_optimum
from .rows import Row
from .setting import Setting
from .traffic import Traffic, traffic
from .works import batches, dpp_map, facility_location, from_features, local_search, max_min, sampling

WORKS: dict[str, Callable[[Setting], list[Row]]] = {
    "facility-location": facility_location,
    "dpp": dpp_map,
    "max-min": max_min,
    "features": from_features,
    "batch": batches,
    "local-search": local_search,
    "gap": certified_gap,
    "optimum": proven_optimum,
    "log-det": log_det_proof,
    "cold-start": cold_start,
    "sampling": sampling,
    "similarity": similarity,
}
"""Every section of the table, in its order; a new one is one entry."""

TEXTS = ("work", "problem", "ours", "peer", "picks", "target")

QUICK = Setting(samples=3, shrink=2)


def measure(setting: Setting, only: Iterable[str] = ()) -> Iterator[list[Row]]:
    """Rows of the sections named in `only`, or of all, section by section; one that fails is a row that says so.

    Raises
    ------
    KeyError
        For an unknown section.
    """
    torch.set_num_threads(1)
    warm_up()
    chosen = [nearest(name, WORKS, "section") for name in only] or list(WORKS)
    for name in chosen:
        try:
            yield WORKS[name](setting)
        except Exception as error:  # hours of other rows must not be lost to it
            yield [Row(name, verdict="fails", note=f"{type(error).__name__}: {error}")]


def table(rows: list[Row]) -> pd.DataFrame:
    """Rows as a table, each with what its numbers depend on."""
    stamp = provenance() | {"threads": "1", "load": f"{os.getloadavg()[0]:.2f}"}
    return pd.DataFrame([row.record() for row in rows]).assign(**stamp)


def shown(frame: pd.DataFrame) -> Table:
    """The columns that people read."""
    grid = Table(title="solvers and their peers, one thread, medians of processor time", title_justify="left")
    for name in (
        "work",
        "problem",
        "n",
        "k",
        "images",
        "ours",
        "ours ms",
        "peer",
        "peer ms",
        "ratio",
        "wall ratio",
        "picks",
        "target",
    ):
        grid.add_column(name, justify="left" if name in TEXTS else "right")
    for name in ("measured", "verdict", "note"):
        grid.add_column(name)
    for row in frame.to_dict("records"):
        cells = [row[name] for name in ("work", "problem", "n", "keep", "images", "ours")]
        cells += [_number(row["ours_cpu_ms"]), row["peer"]]
        cells += [_number(row[name]) for name in ("peer_cpu_ms", "ratio_cpu", "ratio_wall")]
        cells += [row["same_picks"] or "", row["target"], _number(row["measured"]), row["verdict"], row["note"]]
        colour = {"pass": "green", "": "", "no peer": "yellow"}.get(row["verdict"], "red")
        grid.add_row(*map(str, cells), style=colour)
    return grid


def shown_traffic(found: list[Traffic]) -> Table:
    """Memory traffic as a table."""
    grid = Table(title="memory traffic of the greedy loops", title_justify="left")
    for name in Traffic._fields:
        grid.add_column(name.replace("_per_s", "/s").replace("_", " "))
    for row in found:
        grid.add_row(*(value if isinstance(value, str) else _number(value) for value in row))
    return grid


def _number(value: float) -> str:
    return "" if value != value else f"{value:.3g}" if isinstance(value, float) else str(value)


def main(
    quick: Annotated[bool, typer.Option(help="small sizes and few samples, in a minute; no target is judged")] = False,
    only: Annotated[list[str] | None, typer.Option(help="sections to measure; may be repeated")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV to write; the memory traffic goes beside it")] = None,
) -> None:
    """Measure, print, and keep the table."""
    console = Console(width=240)
    setting = QUICK if quick else Setting()
    sections = [name for name in only or () if name != "traffic"]
    rows: list[Row] = []
    for section in measure(setting, sections) if sections or not only else ():
        rows += section
        console.print(f"measured {section[0].work}")
        _keep(table(rows), out)
    if rows:
        console.print(shown(table(rows)))
    if not only or "traffic" in only:
        found = traffic(setting)
        console.print(shown_traffic(found))
        _keep(pd.DataFrame(found).assign(**provenance()), out and out.with_name(f"{out.stem}_traffic{out.suffix}"))
    console.print(f"one thread: {', '.join(f'{name}={os.environ[name]}' for name in THREAD_LIMITS)}")


def _keep(frame: pd.DataFrame, out: Path | None) -> None:
    if out is not None:
        with replacing(out) as unfinished:
            frame.to_csv(unfinished, index=False, float_format="%.6g")


if __name__ == "__main__":
    typer.run(main)
