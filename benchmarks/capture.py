"""`python -m benchmarks.capture [--quick] [--out FILE]`: what recording attention costs, one thread, one run.

Forward passes with and without a recording take turns, next to plain sdpa and to eager attention with
`output_attentions`. Times are medians of processor time; memory is the peak of the tensors that were alive, from the
profiler's list of allocations, in a pass of its own. Extra memory is what a pass needs beyond plain sdpa, what it
returns or records included.
"""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from analysis.capture import AbstractReducer, ClsRow, Entropy, ImageRows, LastRow, MeanReceived, record
from analysis.evaluation import MiniVqa
from analysis.models import load
from solvers.files import replacing
from solvers.provenance import provenance

from .rows import Target
from .timing import Timing, timed

EMBEDDED = Path(__file__).parents[1] / "data" / "mini_llava"
SDPA, EAGER = "sdpa", "eager output_attentions"
ROWS_TIME = Target("times sdpa", 1.10, at_most=True)
ROWS_MEMORY = Target("of eager's extra memory", 1 / 20, at_most=True)
STREAMED_TIME = Target("times sdpa", 1.60, at_most=True)
SHOWN = ("subject", "pass", "variant", "cpu_ms", "times_sdpa", "extra_mb", "of_eager", "verdict")


@dataclass(frozen=True)
class Variant:
    """What is recorded of a pass, and what that may cost."""

    name: str
    reducers: dict[str, AbstractReducer]
    time: Target | None = None
    memory: Target | None = None


@dataclass(frozen=True)
class Pass:
    """A forward pass of a part of a model."""

    name: str
    call: Callable[[Any, bool], Any]
    """Called with a model and whether it is to return its attention maps."""
    variants: tuple[Variant, ...]


ENCODER = (
    Variant("CLS rows", {"cls": ClsRow()}, ROWS_TIME, ROWS_MEMORY),
    Variant("column mean", {"received": MeanReceived()}, STREAMED_TIME),
    Variant("column mean and entropy", {"received": MeanReceived(), "entropy": Entropy()}, STREAMED_TIME),
)
WHOLE = (
    Variant("CLS and last rows", {"cls": ClsRow(), "last": LastRow()}, ROWS_TIME, ROWS_MEMORY),
    Variant(
        "column mean and entropy, both towers",
        {"received": MeanReceived(), "entropy": Entropy(), "rows": ImageRows(), "text_entropy": Entropy(of="text")},
        STREAMED_TIME,
    ),
)


def subjects(quick: bool) -> Iterator[tuple[str, Any, dict[str, torch.Tensor]]]:
    """Name, model and inputs: the embedded model on four questions, and random weights in the shape of LLaVA-1.5's
    encoder (CLIP ViT-L/14 at 336 pixels, 577 tokens) with fewer layers, before a language model of the same width."""
    vlm = load(EMBEDDED)
    samples = list(islice(iter(MiniVqa()), 1 if quick else 4))
    batch = vlm.prepare([sample.image for sample in samples], [sample.questions[0].question for sample in samples])
    yield f"embedded model, batch {len(samples)}", vlm.model, dict(batch)
    layers, width = (1, 256) if quick else (2, 1024)
    model = wide_model(layers, width)
    ids = torch.full((1, 576 + 40), 5)
    ids[:, 8 : 8 + 576] = model.config.image_token_id
    pixels = torch.randn(1, 3, 336, 336, generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "pixel_values": pixels, "attention_mask": torch.ones_like(ids)}
    yield f"random weights, width {width}, {layers} + {layers} layers", model, inputs


def wide_model(layers: int, width: int) -> LlavaForConditionalGeneration:
    """A LLaVA with 576 visual tokens, heads of 64, and random weights."""
    torch.manual_seed(0)
    heads = width // 64
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=336,
        patch_size=14,
    )
    text = LlamaConfig(
        hidden_size=width,
        intermediate_size=8 * width // 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        vocab_size=1000,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=999, image_seq_length=576)
    result: LlavaForConditionalGeneration = LlavaForConditionalGeneration(config).eval()
    return result


def passes(inputs: dict[str, torch.Tensor]) -> tuple[Pass, ...]:
    """The encoder alone, and the whole model; eager attention of the latter returns the language model's maps only."""
    return (
        Pass(
            "encoder",
            lambda model, maps: model.get_image_features(
                pixel_values=inputs["pixel_values"], **({"output_attentions": True} if maps else {})
            ),
            ENCODER,
        ),
        Pass(
            "whole model",
            lambda model, maps: model(**inputs, use_cache=False, logits_to_keep=1, output_attentions=maps or None),
            WHOLE,
        ),
    )


def measure(subject: str, model: Any, work: Pass, samples: int, *, judged: bool = True) -> list[dict[str, Any]]:
    """A row per variant of one pass; targets hold for the full sizes only: `judged`."""
    eager = copy.deepcopy(model, memo={id(weight): weight for weight in model.parameters()})
    eager.set_attn_implementation("eager")

    def recorded(variant: Variant) -> Callable[[], Any]:
        def run() -> Any:
            with record(model, **variant.reducers) as log:
                work.call(model, False)
            return log

        return run

    calls: dict[str, Callable[[], Any]] = {SDPA: lambda: work.call(model, False)}
    calls |= {variant.name: recorded(variant) for variant in work.variants}
    calls[EAGER] = lambda: work.call(eager, True)
    with torch.no_grad():
        times = turns(calls, samples)
        peaks = {name: peak_bytes(call) for name, call in calls.items()}
    extra = {name: peak - peaks[SDPA] for name, peak in peaks.items()}
    targets = {variant.name: (variant.time, variant.memory) for variant in work.variants if judged}
    rows = []
    for name, timing in times.items():
        ratio, share = timing.cpu / times[SDPA].cpu, extra[name] / extra[EAGER]
        time, memory = targets.get(name, (None, None))
        missed = [
            str(target)
            for target, got in ((time, ratio), (memory, share))
            if target is not None and not target.met(got)
        ]
        rows.append(
            {
                "subject": subject, "pass": work.name, "variant": name,
                "cpu_ms": 1e3 * timing.cpu, "wall_ms": 1e3 * timing.wall, "samples": timing.samples,
                "times_sdpa": ratio, "peak_mb": peaks[name] / 2**20, "extra_mb": extra[name] / 2**20,
                "of_eager": share, "target_time": str(time or ""), "target_memory": str(memory or ""),
                "verdict": "" if time is memory is None else "missed: " + ", ".join(missed) if missed else "pass",
            }
        )  # fmt: skip
    return rows


def turns(calls: Mapping[str, Callable[[], Any]], samples: int) -> dict[str, Timing]:
    """Medians of calls that take turns, each called once before; what they return is not kept: maps are large."""
    for call in calls.values():
        call()
    taken: dict[str, list[Timing]] = {name: [] for name in calls}
    for _ in range(samples):
        for name, call in calls.items():
            taken[name].append(timed(call)._replace(result=None))
    return {
        name: Timing(median(each.cpu for each in of_call), median(each.wall for each in of_call), samples, None)
        for name, of_call in taken.items()
    }


def peak_bytes(call: Callable[[], Any]) -> int:
    """Largest number of bytes in tensors that `call` made and that were alive at one time, its result included."""
    call()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = call()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    del result
    changes = sorted(
        (event["ts"], number, event["args"]["Bytes"])
        for number, event in enumerate(events)
        if event.get("name") == "[memory]"
    )
    alive = peak = 0
    for _, _, change in changes:
        alive += change
        peak = max(peak, alive)
    return peak


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table, each with what its numbers depend on."""
    stamp = provenance() | {"threads": "1", "load": f"{os.getloadavg()[0]:.2f}"}
    return pd.DataFrame(rows).assign(**stamp)


def shown(frame: pd.DataFrame) -> Table:
    """The columns that people read."""
    view = Table(title="cost of recording attention, by processor time")
    for name in SHOWN:
        view.add_column(name)
    for row in frame[list(SHOWN)].itertuples(index=False):
        view.add_row(*(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    return view


def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes, a few seconds: a look at what is measured.")
    ] = False,
    samples: Annotated[int, typer.Option(min=1, help="Timed passes of each variant.")] = 7,
    out: Annotated[Path | None, typer.Option(help="CSV file to write.")] = None,
) -> None:
    """What recording attention costs in time and memory, next to plain sdpa and eager attention maps."""
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for subject, model, inputs in subjects(quick):
        for work in passes(inputs):
            rows += measure(subject, model, work, samples, judged=not quick)
            if out is not None:
                with replacing(out) as unfinished:
                    table(rows).to_csv(unfinished, index=False, float_format="%.6g")
    Console(width=160).print(shown(table(rows)))


if __name__ == "__main__":
    typer.run(main)
