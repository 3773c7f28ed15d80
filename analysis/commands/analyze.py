"""`prunescope analyze`: a dump of attention as tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .frame import AsJson, show_json, show_table
from .output import output_folder, write_table

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

FORMATS = ("csv", "parquet")
IDENTITY = ("model", "config_hash", "weights")
"""Attributes of a dump that tell whose attention it holds."""
SHOWN = ("effective_tokens", "top_mass", "quartile_1", "quartile_4")


def analyze(
    dump: Annotated[str, typer.Argument(help="What `prunescope capture` wrote: a folder or URL.")],
    out: Annotated[Path, typer.Option(help="Folder of tables and figures.")] = Path("out/analyze"),
    table_format: Annotated[str, typer.Option("--format", help="Of the tables: csv or parquet.")] = "csv",
    heads: Annotated[bool, typer.Option("--heads", help="Also a table with a row per head.")] = False,
    figures: Annotated[bool, typer.Option(help="Whether figures are drawn.")] = True,
    keep: Annotated[int, typer.Option(min=1, help="Tokens that count as most attended in the frequency table.")] = 64,
    partial: Annotated[bool, typer.Option("--partial", help="Also of a dump that is not finished.")] = False,
    as_json: AsJson = False,
) -> None:
    """Dispersion and shift of captured attention, layer by layer: tables with intervals over images, and figures.

    Images whose visual tokens lie on different grids are analyzed grid by grid, each in a folder of its own.
    """
    from solvers.names import nearest

    from ..capture import open_dumps

    nearest(table_format, FORMATS, "table format")
    parts = {str(name): child.to_dataset() for name, child in open_dumps(dump, partial=partial).children.items()}
    first = next(iter(parts.values()))
    folder = output_folder(out, "analyze", {name: str(first.attrs.get(name, "")) for name in IDENTITY})
    content: list[dict[str, Any]] = []
    for grid, part in parts.items():
        place = folder if len(parts) == 1 else folder / grid
        tables = _tables(part, heads, keep)
        for name, table in tables.items():
            write_table(table, place / "tables" / f"{name}.{table_format}")
        drawn = _figures(tables, place / "figures") if figures else []
        content.append({"grid": grid, "folder": place, "figures": drawn, "attention": tables["attention"]})
        if not as_json:
            _show(
                tables["attention"], f"{part.attrs.get('model', dump)}: {part.sizes['image']} images of {grid} tokens"
            )
    if as_json:
        show_json([entry | {"attention": entry["attention"].to_dict("records")} for entry in content])
    else:
        typer.echo(f"open {folder / 'figures' / 'dispersion.png' if figures and len(parts) == 1 else folder}")


def _tables(dump: xr.Dataset, heads: bool, keep: int) -> dict[str, pd.DataFrame]:
    """Every table by the name of its file."""
    from ..metrics import (
        layer_agreement,
        mass_curves,
        measure,
        profile,
        quartile_shares,
        score_histogram,
        selection_frequency,
        summarise,
    )
    from ..metrics.sources import grid_of

    per_image = measure(dump)
    attention = summarise(per_image, grid_of(dump))
    tables = {
        "attention": attention,
        "attention_by_image": per_image,
        "quartiles": quartile_shares(attention),
        "mass_curves": mass_curves(dump),
        "score_histogram": score_histogram(dump),
        "profile": profile(dump),
        "selection_frequency": selection_frequency(dump, keep),
        "layer_agreement": layer_agreement(dump),
    }
    return tables | ({"attention_by_head": measure(dump, heads=True)} if heads else {})


def _figures(tables: dict[str, pd.DataFrame], folder: Path) -> list[str]:
    """Draw what the tables hold, beside published curves where there are any; the PNG files."""
    from .. import figures

    curves = tables["mass_curves"]
    drawn = {
        "dispersion": figures.dispersion(tables["attention"]),
        "shift": figures.shift(tables["quartiles"]),
        "mass_curves": figures.mass_curves(curves, published=figures.published_mass_curves()),
        "score_histogram": figures.score_histogram(tables["score_histogram"]),
        "index_profile": figures.index_profile(tables["profile"]),
        "position_maps": figures.position_maps(tables["profile"]),
        "selection_frequency": figures.selection_frequency(tables["selection_frequency"]),
        "layer_agreement": figures.layer_agreement(tables["layer_agreement"]),
    }
    return [str(figures.save(figure, folder, name).png) for name, figure in drawn.items()]


def _show(attention: pd.DataFrame, title: str) -> None:
    """Some metrics by source and layer; the tables have all, with intervals."""
    rows = []
    for (source, layer), part in attention.groupby(["source", "layer"], sort=False):
        estimates = part.set_index("metric")["estimate"]
        rows.append([source, layer, *(f"{estimates[name]:.3g}" for name in SHOWN)])
    heads = ["attention of", "layer", *(name.replace("_", " ") for name in SHOWN)]
    show_table(heads, rows, title=f"{title}, means")
