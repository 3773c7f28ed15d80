"""The sibling of the embedded model whose vision tower has no CLS token: `python -m data.make.sibling --train`.

Trains it from the weights of `data/mini_llava` (a run that was stopped goes on), exports it to
`data/mini_llava_siglip`, measures it beside its origin and writes its card. Without `--train` the exported model is
only measured again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from analysis import accuracy_table, evaluate, load
from analysis.causes import usefulness
from analysis.causes.tables import means
from analysis.evaluation import MiniVqa
from analysis.evaluation.gate import majority_priors
from analysis.models import Vlm
from analysis.pruning import encode_images
from analysis.study.run import EMBEDDED
from solvers.provenance import provenance

from .export import export
from .gate import card_table
from .history import core_minutes, phase_table
from .model import Trainee, build_model
from .train import Recipe, Trainer, quick_score
from .warm_start import warm_start

DATA = Path(__file__).parents[1]
FOLDER = DATA / "mini_llava_siglip"
RECIPE, LOG_NAME = "siglip", "sibling_training"
WORK = Path("runs") / RECIPE
ORIGIN, SIBLING = "data/mini_llava", "data/mini_llava_siglip"
PRUNERS = ("random", "vispruner", "fastervlm", "divprune", "oracle")
KEEPS = (192, 64, 32)
IMAGES = 200

CARD = """# mini_llava_siglip

The sibling of [mini_llava](../mini_llava/README.md) without a CLS token: a stock `LlavaForConditionalGeneration`
with {parameters:,} parameters in float16 whose vision tower is SigLIP's ({vision.num_hidden_layers} layers of width
{vision.hidden_size}, 192 px, patch 8, no pooling head, `vision_feature_select_strategy="full"`). The features are
those of layer -2: 576 visual tokens, in front of a Llama of {text.num_hidden_layers} layers. It is there so that
what pruners do without CLS attention is measured on a trained model: with this tower, the mean attention that a
token receives from all tokens stands for the CLS row. Licence: Apache-2.0, as the project. Outside the questions of
`data/mini_vqa` it knows nothing.

```python
vlm = analysis.load("data/mini_llava_siglip")
vlm.adapter.has_cls  # False
vlm.answer(image, "what color is the circle ?")
```

## Accuracy on the test split of mini_vqa

The first {images} images with {questions:,} questions, exact match, position ids kept; 95 % intervals resample images.
Means over the eight tasks, of the sibling and, on the same questions, of the model with CLS that it comes from:

{means}

By task, of the sibling; the majority prior is the share of a task's most frequent answer:

{tasks}

Share of the tokens an answer needs that are among those ranked first in the block of the features, by the CLS row
of the origin and by the mean received attention of the sibling, over the questions that need any:

{recall}

All rows are in `data/measured/sibling.csv` and `data/measured/sibling_evidence.csv`, written by
`python -m data.make.sibling`.

## Training

Warm start from `data/mini_llava`: patch embedding, positions, blocks, projector and language model are copied.
CLIP's normalisation of the embedded patches, which SigLIP lacks, is folded into patch embedding, its bias and the
positions, with one deviation for all patches; CLS and its position are left behind. Before any training this
answers {start:.3f} of the questions about 60 fresh scenes, mean over tasks. Then came {trained:,} rendered pictures
in {steps:,} steps of the same mix of questions, {minutes:.0f} minutes of wall time and {core_minutes:.0f}
core-minutes on one shared processor core, no GPU. `data/make/siglip.toml` is the recipe,
`data/measured/{log_name}.csv` what each phase of it reached; `python -m data.make.sibling --train` does it all
again from `data/mini_llava`.

## Known weaknesses

Questions outside the forms of mini_vqa have no meaning to it. Its weakest task with all tokens is {weakest}.
VisPruner at 64 tokens takes most from {lost}.
The tower was trained with a CLS token first and then for an hour without, to label patches and what the mean of its
last states shows; SigLIP's own objective, text against picture through a pooling head, it has never seen. The
attention that it pays may differ from that of a SigLIP tower trained on photographs, and with it the order of pruners
that use attention.
"""


def shipped(model: str) -> Vlm:
    """One of the two models under the name it has in the tables."""
    return replace(load(str({ORIGIN: EMBEDDED, SIBLING: FOLDER}[model])), id=model)


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
        pixels = vlm.prepare(sample.image, sample.questions[0].question)["pixel_values"]
        score = encode_images(vlm, pixels, ("cls",))[0].evidence("cls").astype(np.float64)
        for question in sample.questions:
            if len(question.needed):
                for keep in keeps:
                    found = np.isin(question.needed, usefulness.top(score, keep)).mean()
                    rows.append({"keep": keep, "image_id": sample.image_id, "needed_recall": found})
    named = {"model": vlm.id, "signal": "cls" if vlm.adapter.has_cls else "received"}
    return means(pd.DataFrame(rows).assign(**named), ["model", "signal", "keep"], ["needed_recall"])


def means_table(accuracy: pd.DataFrame) -> str:
    """Markdown: a row per pruner and budget, a column per model, the mean over tasks with its interval."""
    cells = accuracy[accuracy["task"] == "mean"]
    keeps = sorted(cells["keep"].unique(), reverse=True)
    models = (SIBLING, ORIGIN)
    lines = ["| pruner | tokens | " + " | ".join(name.removeprefix("data/") for name in models) + " |"]
    lines.append("|---|---|" + "---|" * len(models))
    for pruner in ("none", *PRUNERS):
        for keep in keeps:
            at = cells[(cells["pruner"] == pruner) & (cells["keep"] == keep)].set_index("model")
            if len(at):  # without a pruner there is one budget, all tokens
                lines.append(
                    f"| {pruner} | {keep} | " + " | ".join(_interval(at.loc[model]) for model in models) + " |"
                )
    return "\n".join(lines)


def recall_table(evidence: pd.DataFrame) -> str:
    """Markdown: a row per model, a column per budget, the share with its interval."""
    keeps = sorted(evidence["keep"].unique(), reverse=True)
    lines = ["| model | signal | " + " | ".join(f"first {keep}" for keep in keeps) + " |"]
    lines.append("|" + "---|" * (2 + len(keeps)))
    for row in evidence[["model", "signal"]].drop_duplicates().to_dict("records"):
        at = evidence[evidence["model"] == row["model"]].set_index("keep")
        cells = " | ".join(_interval(at.loc[keep]) for keep in keeps)
        lines.append(f"| {row['model'].removeprefix('data/')} | {row['signal']} | {cells} |")
    return "\n".join(lines)


def _interval(row: pd.Series) -> str:
    return f"{row['estimate']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def most_lost(accuracy: pd.DataFrame, tasks: int = 2) -> str:
    """The tasks from which VisPruner takes most of the sibling at 64 tokens, each with what it takes of the origin."""
    at = accuracy[accuracy["task"] != "mean"]
    full, pruned = (
        at[rows].set_index(["model", "task"])["estimate"]
        for rows in (at["pruner"] == "none", (at["pruner"] == "vispruner") & (at["keep"] == 64))
    )
    lost = full - pruned
    worst = lost[SIBLING].nlargest(tasks).index
    return " and ".join(f"{task}, {lost[SIBLING, task]:.3f} (of the origin {lost[ORIGIN, task]:.3f})" for task in worst)


def accuracy_at_start(recipe: Recipe) -> float:
    """Mean accuracy on fresh scenes of the warm start, before its first step."""
    trainee = Trainee(build_model(recipe.size)).eval()
    warm_start(trainee, EMBEDDED)
    return quick_score(trainee)["mean"]


def write_card(accuracy: pd.DataFrame, evidence: pd.DataFrame, priors: Mapping[str, float], start: float) -> None:
    """The card of the exported model, from the measured tables and the log of its training."""
    log = DATA / "measured" / f"{LOG_NAME}.jsonl"
    phases, vlm = phase_table(log), shipped(SIBLING)
    own = accuracy[accuracy["model"] == SIBLING]
    full = own[(own["pruner"] == "none") & (own["task"] != "mean")].set_index("task")["estimate"]
    card = CARD.format(
        parameters=vlm.model.num_parameters(),
        vision=vlm.model.config.vision_config,
        text=vlm.model.config.text_config,
        images=own["images"].max(),
        questions=own["questions"].max(),
        means=means_table(accuracy),
        tasks=card_table(own, priors),
        recall=recall_table(evidence),
        start=start,
        trained=phases["images"].iloc[-1],
        steps=phases["step"].iloc[-1],
        minutes=phases["minutes"].sum(),
        core_minutes=core_minutes(log),
        log_name=LOG_NAME,
        lost=most_lost(accuracy),
        weakest=f"{full.idxmin()}, {full.min():.3f}",
    )
    (FOLDER / "README.md").write_text(card)


def main(
    train: Annotated[bool, typer.Option("--train", help="train (or go on training) and export first")] = False,
    images: Annotated[int, typer.Option(help="images of the test split, from its start")] = IMAGES,
    work: Annotated[Path, typer.Option(help="training run and answers, kept for the next call")] = WORK,
) -> None:
    """Train if asked to, measure both models, keep the tables and write the card."""
    recipe = Recipe.read(RECIPE)
    if train:
        trainer = Trainer(recipe, work)
        trainer.run()
        typer.echo(export(trainer.path, RECIPE, FOLDER, log_name=LOG_NAME))
    task = MiniVqa(images=images)
    answers, evidence, stamps = [], [], []
    for model in (SIBLING, ORIGIN):
        vlm = shipped(model)
        store = work / "answers" / vlm.config_hash
        answers.append(evaluate(vlm, task, PRUNERS, KEEPS, position_ids="keep", store=store))
        evidence.append(needed_recall(vlm, task))
        stamps.append({"model": model, "config_hash": vlm.config_hash, "task_checksum": task.checksum, **provenance()})
    rows = pd.concat(answers, ignore_index=True)
    tables = {"sibling": accuracy_table(rows), "sibling_evidence": pd.concat(evidence, ignore_index=True)}
    for name, table in tables.items():
        stamped = table.merge(pd.DataFrame(stamps), on="model", validate="many_to_one")
        stamped.to_csv(DATA / "measured" / f"{name}.csv", index=False, float_format="%.6g")
    priors = majority_priors(rows[rows["model"] == SIBLING])
    write_card(tables["sibling"], tables["sibling_evidence"], priors, accuracy_at_start(recipe))
    typer.echo(means_table(tables["sibling"]))


if __name__ == "__main__":
    typer.run(main)
