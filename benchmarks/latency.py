"""`python -m benchmarks.latency [--seconds 480] [--out FILE]`: where the time of a pruned question goes, on one GPU.

Published architectures with random weights in bfloat16 and fused attention answer a question about one image under
every pruner and budget, through the stock `generate`. The device is synchronised at the ends of each part, the first
answers are not timed, and medians are reported. Nothing here is derived from FLOPs. Without an NVIDIA device nothing is
measured; `--small` runs a tiny model of each architecture on the processor, to see what the table holds.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from rich.console import Console
from rich.table import Table

from analysis.cost import SHIPPED
from analysis.pruning import PRUNERS, AbstractPruner, pruner
from solvers.files import replacing
from solvers.kernels import warm_up
from solvers.names import nearest
from solvers.provenance import provenance

from .answers import PARTS, Question
from .pruners import where

PICTURE = 576
"""Visual tokens that budgets count on; an image with more of them keeps as many more."""
SHOWN = ("model", "pruner", "keep", "visual", *PARTS, "peak_mib", "note")


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Parameters
    ----------
    models, pruners, keeps
        Architectures by name, pruners, and budgets in tokens of 576.
    seconds
        Time for everything, the making of the models included. Every model gets an equal share of what is left; a row
        that would not fit any more is left out.
    words, new
        Text tokens of the prompt, and tokens of the answer.
    samples
        Timed answers of a row.
    small
        Whether to take tiny models.
    """

    models: tuple[str, ...] = SHIPPED
    pruners: tuple[AbstractPruner, ...] = PRUNERS
    keeps: tuple[int, ...] = (64, 128, 192)
    seconds: float = 480.0
    words: int = 60
    new: int = 8
    samples: int = 3
    small: bool = False

    @property
    def cases(self) -> list[tuple[AbstractPruner | None, int]]:
        """Pruners, or None for the stock model, and budgets, in the order in which they are measured."""
        return [(None, PICTURE), *((entry, keep) for keep in self.keeps for entry in self.pruners)]


@dataclass
class Outcome:
    """Rows, and what was left out for want of time or of a model."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def measure(plan: Plan, device: torch.device, now: Callable[[], float] = time.monotonic) -> Iterator[Outcome]:
    """Model by model, all that is known so far. `now` is the clock that the time for everything is read from.

    Rows come budget by budget, the unpruned model first, so that time runs out on the larger budgets.
    """
    warm_up()
    outcome, end = Outcome(), now() + plan.seconds
    for number, name in enumerate(plan.models):
        began = now()
        rows = _rows(name, plan, device, began + (end - began) / (len(plan.models) - number), now)
        outcome.left_out += [f"{name}, {_label(entry)}, {keep}" for entry, keep in plan.cases[len(rows) :]]
        outcome.rows += rows
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        yield outcome


def _rows(name: str, plan: Plan, device: torch.device, end: float, now: Callable[[], float]) -> list[dict[str, Any]]:
    """The first rows of a model, as many as fit before `end`; none if the device is too small for it."""
    rows: list[dict[str, Any]] = []
    if now() >= end:
        return rows
    try:
        question = Question.about(name, device, plan.words, small=plan.small)
    except torch.OutOfMemoryError:
        return rows
    slowest = 0.0
    for entry, keep in plan.cases:
        began = now()
        if began + slowest >= end:
            break
        rows.append({"model": name} | row(question, entry, keep, plan))
        slowest = max(slowest, now() - began)
    return rows


def row(question: Question, entry: AbstractPruner | None, keep: int, plan: Plan) -> dict[str, Any]:
    """Medians under a pruner, or of the stock model; one that fails is a row that says so."""
    tokens = max(1, round(keep / PICTURE * question.patches))
    about: dict[str, Any] = {
        "pruner": _label(entry), "where": "" if entry is None else where(entry), "keep": tokens,
        "of": question.patches, "words": plan.words, "new": plan.new, "samples": plan.samples,
        "weights_mib": question.weights / 2**20, "note": "",
    }  # fmt: skip
    try:
        return about | question.measured(entry, tokens, new=plan.new, samples=plan.samples)
    except Exception as error:  # one that refuses the family, or runs out of memory, is a row of the table
        return about | {"note": f"fails: {_first_line(error)}"}


def table(outcome: Outcome, device: torch.device) -> pd.DataFrame:
    """Rows as a table, each with what its numbers depend on; what was left out is in its `attrs`."""
    cuda = device.type == "cuda"
    stamp = provenance() | {
        "device": torch.cuda.get_device_name(device) if cuda else "cpu", "cuda": str(torch.version.cuda or ""),
        "load": f"{os.getloadavg()[0]:.2f}",
    }  # fmt: skip
    columns = ["model", "pruner", "where", "keep", "of", "visual", "words", "new", "samples", *PARTS, "peak_mib",
               "weights_mib", "note"]  # fmt: skip
    frame = pd.DataFrame(outcome.rows, columns=columns).assign(**stamp)
    frame.attrs["left_out"] = list(outcome.left_out)
    return frame


def shown(frame: pd.DataFrame) -> Table:
    """The columns that people read."""
    view = Table(title="time of a question and its answer, medians", title_justify="left")
    for name in SHOWN:
        view.add_column(name)
    for row in frame[list(SHOWN)].itertuples(index=False):
        view.add_row(
            *(("" if cell != cell else f"{cell:.3g}") if isinstance(cell, float) else str(cell) for cell in row)
        )
    return view


def _label(entry: AbstractPruner | None) -> str:
    return "none" if entry is None else entry.name


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _known(names: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(nearest(name, SHIPPED, "model") for name in names or SHIPPED)


def main(
    small: Annotated[bool, typer.Option("--small", help="Tiny models on the processor, in seconds.")] = False,
    models: Annotated[list[str] | None, typer.Option(help="Architectures; may be repeated.")] = None,
    pruners: Annotated[list[str] | None, typer.Option(help="Pruners; may be repeated.")] = None,
    keeps: Annotated[list[int] | None, typer.Option(help="Budgets in tokens of 576; may be repeated.")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="Time for everything; what does not fit is left out.")] = 480.0,
    samples: Annotated[int, typer.Option(min=1, help="Timed answers of each row.")] = 3,
    new: Annotated[int, typer.Option(min=2, help="Tokens of an answer.")] = 8,
    out: Annotated[Path | None, typer.Option(help="Parquet file to write.")] = None,
) -> None:
    """Prefill, decode, end to end, peak memory and choice, for published architectures under every pruner."""
    console = Console(width=200)
    if not small and not torch.cuda.is_available():
        console.print("no NVIDIA device here: nothing was measured. --small runs tiny models on the processor.")
        return
    device = torch.device("cpu" if small else "cuda")
    plan = Plan(
        models=_known(models), pruners=tuple(pruner(name) for name in pruners) if pruners else PRUNERS,
        keeps=tuple(keeps or Plan.keeps), seconds=seconds, new=new, samples=samples, small=small,
    )  # fmt: skip
    outcome = Outcome()
    for outcome in measure(plan, device):
        console.print(f"measured {len(outcome.rows)} rows, left out {len(outcome.left_out)}")
        if out is not None:
            with replacing(out) as unfinished:
                table(outcome, device).to_parquet(unfinished, index=False)
    console.print(shown(table(outcome, device)))
    if outcome.left_out:
        console.print(f"left out for want of time or memory ({len(outcome.left_out)}):")
        console.print("\n".join(outcome.left_out))


if __name__ == "__main__":
    typer.run(main)
