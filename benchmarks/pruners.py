"""`python -m benchmarks.pruners [--quick] [--only PRUNER] [--out FILE]`: what choosing takes, one thread, one run.

Every pruner of `PRUNERS`, by processor time, calls taking turns, medians. "choice": those that work before the language
model pick from the tokens of one image, and of 16 one after the other, as `prune` asks them to. "forward": a prompt
through the embedded model under `prune`, for every pruner, beside the stock layers with as many visual tokens in each:
the difference is all that pruning adds, which is evidence, copies, choice and hooks. Where VisPruner chooses, the loop
of its reference chooses too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from rich.console import Console
from rich.table import Table

from analysis.cost import cost
from analysis.evaluation.tasks import Sample
from analysis.models import Vlm, load
from analysis.pruning import PRUNERS, AbstractPruner, VisualTokens, prune, pruner
from analysis.pruning.pruners import VisPruner
from solvers.files import replacing
from solvers.kernels import warm_up
from solvers.provenance import provenance

from .capture import EMBEDDED
from .pictures import LLAVA_7B, Shapes, asked_samples, chosen, made_up, seen_by
from .rows import RATIO, Target, agreement
from .stock_prefill import stock_prefill
from .timing import Timing, interleaved, timed
from .vispruner_loop import vispruner_loop

LOOPS: dict[type[AbstractPruner], Callable[[VisualTokens, int], Any]] = {VisPruner: vispruner_loop}
"""The reference's way to choose, by pruner."""
LOOP_TARGET = Target(RATIO, 3)
PUBLISHED = "llava-1.5-7b"
TEXTS = ("tokens", "work", "pruner", "where", "visual", "prefill_is", "same_picks", "target", "verdict", "note")
COLUMNS = ("tokens", "work", "pruner", "where", "n", "keep", "images", "visual", "cpu_ms", "wall_ms", "samples",
           "prefill_ms", "prefill_is", "added_ms", "share", "loop_ms", "ratio", "same_picks", "target", "verdict",
           "note")  # fmt: skip
SHOWN = ("tokens", "work", "pruner", "where", "keep", "images", "visual", "cpu_ms", "prefill_ms", "added_ms", "share",
         "loop_ms", "ratio", "same_picks", "verdict", "note")  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How large and how often things are measured.

    Parameters
    ----------
    shapes
        Of the made-up tokens.
    keeps
        Budgets.
    images
        Images of a batch.
    samples
        Timed samples of every call of less than three seconds.
    judged
        Whether targets, which are stated for the full size, are judged.
    """

    shapes: Shapes = LLAVA_7B
    keeps: tuple[int, ...] = (128, 64)
    images: int = 16
    samples: int = 7
    judged: bool = True


QUICK = Size(Shapes(side=8, dim=32, hidden=64, words=6), keeps=(32,), images=2, samples=1, judged=False)


@dataclass(frozen=True)
class Prefill:
    """What a prompt takes until its first token, the encoder included, when `keep` visual tokens are left."""

    seconds: float
    how: str


@dataclass(frozen=True)
class Subject:
    """Whose tokens are chosen from.

    Parameters
    ----------
    name
        In the table.
    pictures
        Its tokens, image by image.
    prefill
        From a budget to what the choice is compared with, or None.
    target
        What VisPruner has to reach beside its loop, or None.
    """

    name: str
    pictures: list[VisualTokens]
    prefill: Callable[[int], Prefill | None]
    target: Target | None = None


def measure(size: Size, vlm: Vlm, pruners: Sequence[AbstractPruner] = PRUNERS) -> Iterator[list[dict[str, Any]]]:
    """Rows, as soon as some are there; a pruner that fails is a row that says so."""
    torch.set_num_threads(1)
    warm_up()
    before = [entry for entry in pruners if where(entry) == "before LM"]
    samples = asked_samples(size.images)
    question = samples[0].questions[0]
    inputs = vlm.prepare(samples[0].image, question.question)
    if before:
        for keep, subject in product(size.keeps, subjects(size, vlm, before, samples, inputs)):
            prefill = subject.prefill(keep)
            for images in (1, size.images):
                times = choice(before, subject.pictures[:images], keep, size.samples)
                about = {"tokens": subject.name, "work": "choice", "n": len(subject.pictures[0]), "keep": keep}
                yield [
                    about | {"images": images} | _choice_row(entry, times, images, prefill, subject.target)
                    for entry in before
                ]
    for keep in size.keeps:
        about = {"tokens": EMBEDDED.name, "work": "forward", "n": vlm.adapter.tokens(vlm.model), "keep": keep}
        yield [
            about | {"images": 1} | forward(vlm, inputs, question.needed, entry, keep, size.samples)
            for entry in pruners
        ]


def subjects(
    size: Size, vlm: Vlm, before: Sequence[AbstractPruner], samples: Sequence[Sample], inputs: Mapping[str, Any]
) -> tuple[Subject, Subject]:
    """Tokens in the shapes of a published model, and those of the embedded one."""
    shapes = size.shapes
    return (
        Subject(
            f"made up, widths {shapes.dim} and {shapes.hidden}",
            [made_up(shapes, seed) for seed in range(size.images)],
            partial(estimated, shapes=shapes, rate=matmul_rate(size.samples)),
            LOOP_TARGET if size.judged else None,
        ),
        Subject(
            EMBEDDED.name,
            seen_by(vlm, samples, frozenset().union(*(entry.needs for entry in before))),
            partial(measured, vlm, inputs, samples=size.samples),
        ),
    )


def where(entry: AbstractPruner) -> str:
    """Where a pruner works, in the words of `solvers.rules`."""
    return "inside LM" if entry.inside else "in encoder" if entry.in_encoder else "before LM"


def choice(
    pruners: Iterable[AbstractPruner], pictures: Sequence[VisualTokens], keep: int, samples: int
) -> dict[tuple[str, bool], Timing | Exception]:
    """Times of choosing for all `pictures`, by name and by whether it is the loop of the reference."""
    calls: dict[tuple[str, bool], Callable[[], Any]] = {}
    for entry in pruners:
        calls[entry.name, False] = partial(chosen, entry, pictures, keep)
        if type(entry) in LOOPS:
            calls[entry.name, True] = partial(_looped, LOOPS[type(entry)], pictures, keep)
    times = interleaved({str(key): call for key, call in calls.items()}, samples)
    return {key: times[str(key)] for key in calls}


def _looped(loop: Callable[[VisualTokens, int], Any], pictures: Sequence[VisualTokens], keep: int) -> list[Any]:
    return [loop(tokens, keep) for tokens in pictures]


def _choice_row(
    entry: AbstractPruner,
    times: Mapping[tuple[str, bool], Timing | Exception],
    images: int,
    prefill: Prefill | None,
    target: Target | None,
) -> dict[str, Any]:
    own, loop = times[entry.name, False], times.get((entry.name, True))
    row: dict[str, Any] = {"pruner": entry.name, "where": where(entry)}
    if isinstance(own, Exception):
        return row | _failed(own)
    row |= {
        "visual": str(len(own.result[0])), "cpu_ms": 1e3 * own.cpu / images, "wall_ms": 1e3 * own.wall / images,
        "samples": own.samples, "added_ms": 1e3 * own.cpu / images,
    }  # fmt: skip
    if prefill is not None:
        row |= {"prefill_ms": 1e3 * prefill.seconds, "prefill_is": prefill.how}
        row["share"] = row["added_ms"] / row["prefill_ms"]
    return row | (_beside(own, loop, images, target) if isinstance(loop, Timing) else {})


def _beside(own: Timing, loop: Timing, images: int, target: Target | None) -> dict[str, Any]:
    """What the loop of the reference took; being faster counts only with the same picks."""
    same, _ = agreement([kept.tolist() for kept in own.result], [kept.tolist() for kept in loop.result])
    ratio = loop.cpu / own.cpu
    verdict = "" if target is None else "pass" if target.met(ratio) else "below"
    return {
        "loop_ms": 1e3 * loop.cpu / images, "ratio": ratio, "same_picks": "yes" if same == "order" else "no",
        "target": str(target or ""), "verdict": verdict if same == "order" else "picks differ",
    }  # fmt: skip


def forward(
    vlm: Vlm, inputs: Mapping[str, Any], needed: Any, entry: AbstractPruner, keep: int, samples: int
) -> dict[str, Any]:
    """A prompt under `prune`, entering the context included, beside the stock layers at the same visual tokens."""

    @torch.no_grad()
    def pruned() -> list[int]:
        with prune(vlm, entry, keep, needed=[needed]) as log:
            vlm.model(**inputs, use_cache=False, logits_to_keep=1)
        per_layer: list[int] = log.visual_tokens[0].tolist()
        return per_layer

    row: dict[str, Any] = {"pruner": entry.name, "where": where(entry)}
    try:
        per_layer = pruned()
    except Exception as error:  # one that refuses the model is a row of the table
        return row | _failed(error)
    times = interleaved({"own": pruned, "stock": partial(stock_prefill, vlm, inputs, per_layer)}, samples)
    own, stock = times["own"], times["stock"]
    if isinstance(own, Exception) or isinstance(stock, Exception):
        return row | _failed(own if isinstance(own, Exception) else stock)
    return row | {
        "visual": " ".join(map(str, per_layer)), "cpu_ms": 1e3 * own.cpu, "wall_ms": 1e3 * own.wall,
        "samples": own.samples, "prefill_ms": 1e3 * stock.cpu, "added_ms": 1e3 * (own.cpu - stock.cpu),
        "share": own.cpu / stock.cpu - 1,
        "prefill_is": "measured: stock layers, the same visual tokens in each",
    }  # fmt: skip


def _failed(error: Any) -> dict[str, Any]:
    return {"verdict": "fails", "note": f"{type(error).__name__}: {error}".splitlines()[0]}


def measured(vlm: Vlm, inputs: Mapping[str, Any], keep: int, samples: int) -> Prefill:
    """Of the embedded model, its stock layers at `keep` visual tokens."""
    layers = len(vlm.adapter.text_layers(vlm.model))
    timing = interleaved({"": partial(stock_prefill, vlm, inputs, [keep] * layers)}, samples)[""]
    if isinstance(timing, Exception):
        raise timing
    return Prefill(timing.cpu, f"measured: stock layers, {keep} visual tokens")


def estimated(keep: int, shapes: Shapes, rate: float) -> Prefill | None:
    """Of LLaVA-1.5-7B on this machine, from its operations alone: for scale, no measurement. None at other shapes."""
    if shapes != LLAVA_7B:
        return None
    flops = cost(PUBLISHED, keep, shapes.words, new=1).flops
    how = f"ESTIMATE: {flops / 1e12:.2f} TFLOP of {PUBLISHED} at {rate / 1e9:.0f} GFLOP/s, its float32 products here"
    return Prefill(flops / rate, how)


def matmul_rate(samples: int) -> float:
    """FLOPs per processor second of a float32 product: an MLP matrix of LLaVA-1.5-7B with 124 tokens, one thread."""
    tokens, width, mlp = 124, 4096, 11008
    random = torch.Generator().manual_seed(0)
    states, weights = (torch.randn(*shape, generator=random) for shape in ((tokens, width), (width, mlp)))
    timed(lambda: states @ weights)
    seconds = sorted(timed(lambda: states @ weights).cpu for _ in range(samples))
    return 2 * tokens * width * mlp / seconds[samples // 2]


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table, each with what its numbers depend on."""
    stamp = provenance() | {"threads": "1", "load": f"{os.getloadavg()[0]:.2f}"}
    return pd.DataFrame([dict.fromkeys(TEXTS, "") | row for row in rows], columns=list(COLUMNS)).assign(**stamp)


def shown(frame: pd.DataFrame) -> Table:
    """The columns that people read."""
    view = Table(title="what choosing visual tokens takes, processor time per image, one thread", title_justify="left")
    for name in SHOWN:
        view.add_column(name, justify="left" if name in TEXTS else "right")
    for row in frame[list(SHOWN)].itertuples(index=False):
        view.add_row(*map(_text, row))
    return view


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        return "" if math.isnan(cell) else f"{cell:.3g}"
    return str(cell)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Small tokens, few samples; no target is judged.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Pruners to measure; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file to write.")] = None,
) -> None:
    """What choosing visual tokens takes: every pruner, alone and as a share of what it prepares."""
    console = Console(width=220)
    entries = [pruner(name) for name in only] if only else PRUNERS
    rows: list[dict[str, Any]] = []
    for part in measure(QUICK if quick else Size(), load(EMBEDDED), entries):
        rows += part
        console.print(
            f"measured {part[0]['work']}, {part[0]['tokens']}, keep {part[0]['keep']}, images {part[0]['images']}"
        )
        if out is not None:
            with replacing(out) as unfinished:
                table(rows).to_csv(unfinished, index=False, float_format="%.6g")
    console.print(shown(table(rows)))


if __name__ == "__main__":
    typer.run(main)
