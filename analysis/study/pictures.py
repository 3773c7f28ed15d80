"""Figures of a study, and the pictures of the token explorer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from analysis import figures
from analysis.figures import Figure, frames
from analysis.pruning import VisualTokens
from analysis.report import ExplorerImage, ExplorerQuestion

from .subject import Subject, tokens_per_question

SHOWN_TASKS = ("text", "tiny", "attribute")
"""Kinds of question for single-question figures, in order of preference: their answers hang on few tokens."""


def explorer_images(subject: Subject, accuracy: pd.DataFrame) -> list[ExplorerImage]:
    """Some pictures with what every pruner keeps for each question, and what the model then answers."""
    samples = subject.samples(subject.settings.shown)
    rows, cols = subject.grid
    predictions = _predictions(accuracy)
    shown = []
    for sample, per_question in zip(samples, tokens_per_question(subject, samples), strict=True):
        fixed = _selections(subject, per_question[0], aware=False)
        asked = [
            ExplorerQuestion(
                question=question.question,
                answer=question.answer,
                task=question.task,
                kept={**fixed, **_selections(subject, tokens, aware=True)},
                predictions=predictions.get(question.question_id, {}),
                needed=[] if tokens.needed is None else tokens.needed.tolist(),
            )
            for question, tokens in zip(sample.questions, per_question, strict=True)
        ]
        shown.append(ExplorerImage(f"image {sample.image_id}", sample.image, (rows, cols), asked))
    return shown


def _selections(subject: Subject, tokens: VisualTokens, *, aware: bool) -> dict[tuple[str, int], list[int]]:
    pruners = [pruner for pruner in subject.pruners if pruner.question_aware == aware]
    return {(p.name, keep): p.select(tokens, keep).tolist() for p in pruners for keep in subject.keeps}


def _predictions(accuracy: pd.DataFrame) -> dict[int | str, dict[tuple[str, int], str]]:
    found: dict[int | str, dict[tuple[str, int], str]] = {}
    columns = (accuracy[name].tolist() for name in ("question_id", "pruner", "keep", "prediction"))
    for question, pruner, keep, prediction in zip(*columns, strict=True):
        found.setdefault(question, {})[pruner, keep] = prediction
    return found


def draw(
    subject: Subject, dump: xr.Dataset, explorer: list[ExplorerImage], tables: Mapping[str, pd.DataFrame]
) -> dict[str, Figure]:
    """Every figure by name."""
    first = subject.samples(1)[0]
    asked = first.questions[0]
    picture, shown = explorer[0], _telling(explorer[0])
    keep = frames.chosen_budget(tables["accuracy"], None, "accuracy")
    kept = {name: tokens for (name, budget), tokens in shown.kept.items() if budget == keep}
    notes = {name: answer for (name, budget), answer in shown.predictions.items() if budget == keep}
    return {
        "dispersion": figures.dispersion(tables["attention"]),
        "shift": figures.shift(tables["quartiles"]),
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


def save_all(drawn: Mapping[str, Figure], folder: Path) -> dict[str, Path]:
    """Write every figure as PNG and PDF; the PNG files by name."""
    return {name: figures.save(figure, folder, name).png for name, figure in drawn.items()}
