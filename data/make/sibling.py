"""Siblings of the embedded model: `python -m data.make.sibling siglip --train`.

Trains one from the weights of `data/mini_llava` (a run that was stopped goes on), exports it to its folder in `data`,
measures it beside its origin and writes its card. Without `--train` the exported model is only measured again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from analysis import accuracy_table, evaluate
from analysis.causes import usefulness
from analysis.causes.tables import means
from analysis.evaluation import MiniVqa
from analysis.evaluation.gate import majority_priors
from analysis.models import Vlm
from analysis.pruning import encode_images
from solvers.arrays import Float64Array
from solvers.names import nearest
from solvers.provenance import provenance

from .export import export
from .siblings import SIBLINGS
from .siblings.sibling import KEEPS
from .train import Recipe, Trainer

IMAGES = 200


def evidence_map(vlm: Vlm, inputs: Any) -> Float64Array:
    """The evidence "cls" of an image in the order of the full grid [token], that of its crops where it has some."""
    sizes = {name: inputs[name] for name in ("image_sizes",) if name in inputs}
    seen = encode_images(vlm, inputs["pixel_values"], ("cls",), **sizes)
    crops = [tokens for tokens in seen if tokens.at is not None]
    if not crops:
        return seen[0].evidence("cls").astype(np.float64)
    (rows, columns), (high, wide) = crops[0].crops or (1, 1), crops[0].grid
    full = np.empty((rows * high, columns * wide))
    for tokens in crops:
        row, column = tokens.at or (0, 0)
        place = slice(row * high, (row + 1) * high), slice(column * wide, (column + 1) * wide)
        full[place] = tokens.evidence("cls").reshape(high, wide)
    return full.ravel()


def needed_recall(vlm: Vlm, task: MiniVqa, keeps: Sequence[int] = KEEPS) -> pd.DataFrame:
    """How many of the tokens an answer needs the evidence "cls" of the feature block ranks among the first `keep`.

    Returns
    -------
    pandas.DataFrame
        A row per budget: model, signal ("cls", or "received" where the encoder has no CLS), keep, metric, estimate,
        low, high, images. Questions that need no token are left out.
    """
    rows = []
    for sample in task:
        score = evidence_map(vlm, vlm.prepare(sample.image, sample.questions[0].question))
        for question in sample.questions:
            if len(question.needed):
                for keep in keeps:
                    found = np.isin(question.needed, usefulness.top(score, keep)).mean()
                    rows.append({"keep": keep, "image_id": sample.image_id, "needed_recall": found})
    named = {"model": vlm.id, "signal": "cls" if vlm.adapter.has_cls else "received"}
    return means(pd.DataFrame(rows).assign(**named), ["model", "signal", "keep"], ["needed_recall"])


def main(
    name: Annotated[str, typer.Argument(help="which one: " + ", ".join(each.recipe for each in SIBLINGS))],
    train: Annotated[bool, typer.Option("--train", help="train (or go on training) and export first")] = False,
    images: Annotated[int, typer.Option(help="images of the test split, from its start")] = IMAGES,
    n_jobs: Annotated[int, typer.Option(help="processes")] = 2,
    work: Annotated[
        Path | None, typer.Option(help="training run and answers, kept for the next call; runs/NAME by default")
    ] = None,
) -> None:
    """Train if asked to, measure both models, keep the tables and write the card."""
    known = {each.recipe: each for each in SIBLINGS}
    sibling = known[nearest(name, known, "sibling")]
    recipe, folder = Recipe.read(sibling.recipe), work or Path("runs") / sibling.recipe
    if train:
        trainer = Trainer(recipe, folder)
        trainer.run()
        typer.echo(export(trainer.path, sibling.recipe, sibling.folder, log_name=sibling.log_name))
    task = MiniVqa(images=images)
    answers, evidence, stamps = [], [], []
    for vlm in sibling.vlms():
        store = folder / "answers" / vlm.config_hash
        answers.append(evaluate(vlm, task, sibling.pruners, KEEPS, position_ids="keep", store=store, n_jobs=n_jobs))
        if vlm.id == sibling.model and sibling.together:
            whole = evaluate(
                vlm,
                task,
                sibling.pruners_together,
                KEEPS,
                position_ids="keep",
                tiles="together",
                store=store,
                n_jobs=n_jobs,
            )
            answers.append(whole[whole["pruner"] != "none"])
        evidence.append(needed_recall(vlm, task))
        stamps.append({"model": vlm.id, "config_hash": vlm.config_hash, "task_checksum": task.checksum, **provenance()})
    rows = pd.concat(answers, ignore_index=True)
    tables = {"": accuracy_table(rows), "evidence": pd.concat(evidence, ignore_index=True)}
    for which, table in tables.items():
        stamped = table.merge(pd.DataFrame(stamps), on="model", validate="many_to_one")
        stamped.to_csv(sibling.table(which), index=False, float_format="%.6g")
    priors = majority_priors(rows[rows["model"] == sibling.model])
    sibling.write_card(tables[""], tables["evidence"], priors, sibling.accuracy_at_start())
    typer.echo(sibling.means_table(tables[""]))


if __name__ == "__main__":
    typer.run(main)
