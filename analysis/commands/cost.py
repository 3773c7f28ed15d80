"""`prunescope cost`: operations and cache of a published model at several budgets, without its weights."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .completion import completing
from .frame import AsJson, show_json

if TYPE_CHECKING:
    from rich.table import Table

    from ..cost import Architecture, Cost

CONVENTIONS = (
    "2 FLOPs per multiply-accumulate (MAC)",
    "text tokens count",
    "attention not halved for causality",
    "the encoder and the projector see every token",
    "norms, softmax, biases and embeddings left out",
    "latency does not follow from these numbers",
)


def cost(
    model: Annotated[
        str,
        typer.Argument(
            help="For example llava-1.5-7b; an unknown name lists all.", autocompletion=completing("published models")
        ),
    ],
    keep: Annotated[
        list[int] | None, typer.Option(help="Visual tokens that stay; repeatable, every one is a column.")
    ] = None,
    text: Annotated[int, typer.Option(min=0, help="Text tokens of the prompt.")] = 60,
    new: Annotated[int, typer.Option(min=0, help="Tokens of the answer; 0 is prefill without logits.")] = 1,
    after: Annotated[
        int, typer.Option(min=0, help="Layers of the language model that see every visual token: FastV's K.")
    ] = 0,
    rule: Annotated[
        str, typer.Option(help="Whose own operations count as the selector's; vispruner, or fastv with --after.")
    ] = "",
    image: Annotated[
        str, typer.Option(help="Height x width in pixels, for example 672x1008, for models that mind.")
    ] = "",
    unpad: Annotated[
        bool, typer.Option("--unpad", help="LLaVA-NeXT: newline tokens and no padding, as in the stock forward.")
    ] = False,
    dtype: Annotated[
        str, typer.Option(help="Number format of the cache: float32, bfloat16, float16, float8_e4m3fn.")
    ] = "bfloat16",
    as_json: AsJson = False,
) -> None:
    """Operations and cache of a published model at several budgets: encoder, projector, selector, prefill, decode.

    Counted on the stock classes without weights. Any number named FLOPs elsewhere may count something else: the
    formulas of the papers are in `analysis.cost.formulas`.
    """
    from ..cost import architecture, dropped_after
    from ..cost import cost as count

    shape = architecture(model, image=_size(image) if image else None, unpad=unpad)
    options: dict[str, Any] = {"new": new, "dtype": dtype, "rule": rule or ("fastv" if after else "vispruner")}
    stock = count(shape, None, text, **options)
    profiles = {tokens: dropped_after(shape.visual, tokens, after, len(shape.layers)) for tokens in keep or ()}
    counted = {tokens: count(shape, profile, text, **options) for tokens, profile in profiles.items()}
    if as_json:
        show_json(_content(shape, stock, counted, options))
    else:
        from rich.console import Console

        Console().print(_table(shape, stock, counted, options))


def _size(image: str) -> tuple[int, int]:
    height, _, width = image.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise ValueError(f"`--image` must be height x width, for example 672x1008, got {image!r}")
    return int(height), int(width)


def _content(shape: Architecture, stock: Cost, counted: dict[int, Cost], options: dict[str, Any]) -> dict[str, Any]:
    from ..cost import configuration, summary

    def numbers(entry: Cost) -> dict[str, Any]:
        return {"visual_tokens_per_layer": list(entry.visual), **summary(entry, stock)}

    return {
        "model": shape.name,
        "sources": configuration(shape.name)["sources"],
        "conventions": list(CONVENTIONS),
        "units": "multiply-accumulates; flops are two per multiply-accumulate",
        "visual_tokens": shape.visual,
        **options,
        "unpruned": numbers(stock),
        "kept": {str(tokens): numbers(entry) for tokens, entry in counted.items()},
    }


def _table(shape: Architecture, stock: Cost, counted: dict[int, Cost], options: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(
        title=f"{shape.name}: {shape.visual} visual and {stock.text} text tokens, {stock.new} new, TFLOP",
        caption="; ".join(CONVENTIONS),
    )
    table.add_column("")
    for name in ("unpruned", *(f"{tokens} kept" for tokens in counted)):
        table.add_column(name, justify="right")
    columns = [stock, *counted.values()]
    table.add_row("visual tokens per layer", *(_runs(entry.visual) for entry in columns), end_section=True)
    labels = {"selector": f"selector ({options['rule']})", "head": "language-model head"}
    for part in ("encoder", "projector", "selector", "prefill", "decode", "head"):
        table.add_row(labels.get(part, part), *(_tera(getattr(entry, part)) for entry in columns))
    table.add_section()
    table.add_row("all", *(f"{_tera(entry.macs)}{_saved(entry.macs, stock.macs)}" for entry in columns))
    for name, label in (("prefill", "prefill, MACs (T)"), ("prefill_2ndm", "with two MLP matrices, MACs (T)")):
        pairs = [(getattr(entry, name), getattr(stock, name)) for entry in columns]
        table.add_row(label, *(f"{macs / 1e12:.3f}{_saved(macs, whole)}" for macs, whole in pairs))
    cache = (f"{entry.kv_bytes / 2**20:.1f}{_saved(entry.kv_bytes, stock.kv_bytes)}" for entry in columns)
    table.add_row(f"cache ({options['dtype']}), MiB", *cache)
    return table


def _runs(visual: tuple[int, ...]) -> str:
    """Equal neighbours together: 2 x 576, 30 x 64."""
    runs = [(tokens, len(list(group))) for tokens, group in groupby(visual)]
    return str(runs[0][0]) if len(runs) == 1 else ", ".join(f"{layers} x {tokens}" for tokens, layers in runs)


def _tera(macs: int) -> str:
    tera = 2 * macs / 1e12
    return f"{tera:.4f}" if tera == 0 or tera >= 1e-4 else "< 0.0001"


def _saved(part: int, whole: int) -> str:
    return f" (-{100 * (1 - part / whole):.1f} %)" if part < whole else ""
