"""Figures of a study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from analysis import figures
from analysis.figures import Panels, frames
from analysis.report import ExplorerImage, ExplorerQuestion

from .subject import Subject

SHOWN_TASKS = ("text", "tiny", "attribute")
"""Kinds of question for single-question figures, in order of preference: their answers hang on few tokens."""


def draw(
    subject: Subject, dump: xr.Dataset, explorer: list[ExplorerImage], tables: Mapping[str, pd.DataFrame]
) -> dict[str, Panels]:
    """Every figure by name."""
    first = subject.samples(1)[0]
    asked = first.questions[0]
    picture, shown = explorer[0], _telling(explorer[0])
    keep = frames.chosen_budget(tables["accuracy"], None, "accuracy")
    kept = {name: tokens for (name, budget), tokens in shown.kept.items() if budget == keep}
    notes = {name: reply.text for (name, budget), reply in shown.replies.items() if budget == keep}
    return {
        "dispersion": figures.dispersion(tables["attention"]),
        "shift": figures.shift(tables["quartiles"]),
        "mass_curves": figures.mass_curves(tables["mass_curves"], published=figures.published_mass_curves()),
        "index_profile": figures.index_profile(tables["profile"]),
        "layer_agreement": figures.layer_agreement(tables["layer_agreement"]),
        "head_atlas": figures.head_atlas(tables["cluster_heads"]),
        "attention_maps": figures.attention_maps(
            first.image, attention_maps_of(dump, subject.grid), title=f"{asked.question} {asked.answer}"
        ),
        "certified_gap": figures.certified_gap(tables["selection"]),
        "accuracy_vs_budget": figures.accuracy_vs_budget(tables["accuracy"]),
        "accuracy_by_task": figures.accuracy_by_task(tables["accuracy"], keep=keep),
        "accuracy_vs_cost": figures.accuracy_vs_cost(tables["accuracy"], tables["cost"]),
        "kept_tokens": figures.kept_tokens(
            picture.image,
            kept,
            picture.grid,
            needed=shown.needed,
            notes=notes,
            title=f"{shown.question} {shown.answer} ({keep} of {picture.grid[0] * picture.grid[1]} tokens)",
        ),
    }


def _telling(image: ExplorerImage) -> ExplorerQuestion:
    ranks: dict[str, int] = {task: rank for rank, task in enumerate(SHOWN_TASKS)}
    return min(image.questions, key=lambda question: ranks.get(question.task, len(ranks)))


def attention_maps_of(dump: xr.Dataset, grid: tuple[int, int]) -> dict[str, Any]:
    """Head means of the first captured image [row, col]: CLS at the feature layer, last token in every text layer."""
    first = dump.isel(image=0)
    maps = {}
    if "cls" in dump:
        layer = int(dump.attrs["feature_layer"])  # counted from 1
        maps[f"vision CLS, layer {layer}"] = first["cls"].isel(vision_layer=layer - 1).mean("vision_head")
    last = first["last"].mean("head")
    for layer in range(dump.sizes["layer"]):
        maps[f"last token, layer {layer + 1}"] = last.isel(layer=layer)
    return {title: weights.to_numpy().reshape(grid) for title, weights in maps.items()}


def save_all(drawn: Mapping[str, Panels], folder: Path) -> dict[str, Path]:
    """Write every figure as PNG and PDF; the PNG files by name."""
    return {name: figures.save(figure, folder, name).png for name, figure in drawn.items()}
