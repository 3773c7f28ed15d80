"""Does language pre-training make attention lean to late tokens? `python -m data.make.language_pretraining`.

A language model of the embedded model's shape reads docstrings, is aligned with the frozen vision tower and then tuned,
as LLaVA is; the control sees the same pictures and questions from random weights. After every stage the attention over
the picture is measured. Writes `data/measured/language_pretraining.{csv,jsonl}` and a figure per seed; a run that was
stopped goes on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from analysis import load
from analysis.evaluation import MiniVqa
from analysis.evaluation.store import ResultStore
from analysis.figures import dispersion, write
from solvers.provenance import provenance

from .language_measures import differences, picture_rows, summary, text_rows
from .language_stages import Plan, StageTrainer, Text

DATA = Path(__file__).parents[1]
NAME = "language_pretraining"
WORK = Path("runs") / NAME
MEASURED = ("random", "pretrained", "aligned", "tuned", "tuned longer", "control", "control longer")
DRAWN = ("random", "pretrained", "tuned", "tuned longer", "control longer")
PAIRS = (
    ("pretrained", "random"),
    ("aligned", "pretrained"),
    ("tuned", "aligned"),
    ("tuned longer", "tuned"),
    ("tuned", "control"),
    ("tuned longer", "control longer"),
)
PANELS = {
    "Slope, true ids": ("true", "slope", 0.0),
    "Slope, ids reversed": ("reversed", "slope", 0.0),
    "Slope, one id for all": ("equi", "slope", float("nan")),
    "Last quarter, true ids": ("true", "quartile_4", 0.25),
}
"""Title of each panel of the figure: arrangement of the ids, metric, and its value for even attention if shown."""


def measured(plan: Plan, work: Path, images: int, *, progress: bool = True) -> pd.DataFrame:
    """The table of one seed, all stages run first: see `language_measures.summary`, with the seed in front."""
    text = Text(plan, work / "text")
    folder, task = work / f"seed{plan.seed}", MiniVqa()
    frames = []
    for stage in plan.stages:
        trainer = StageTrainer(plan, stage, text, folder)
        trainer.run()
        if stage.name in MEASURED:
            vlm = replace(load(str(trainer.model_folder)), id=stage.name)
            pictures = picture_rows(vlm, task, images, trainer.folder / "causes", progress=progress)
            store = ResultStore(trainer.folder / "text", {"windows": images, "length": plan.length})
            if "rows" not in store:
                store.put("rows", text_rows(trainer.model_folder, text.held_out, plan.length, images))
            frames.append(pd.concat([pictures, store.read(["rows"])], ignore_index=True).assign(stage=stage.name))
    rows = pd.concat(frames, ignore_index=True)
    table = pd.concat([summary(rows), summary(differences(rows, PAIRS))], ignore_index=True)
    table.insert(0, "seed", plan.seed)
    return table.assign(task_checksum=task.checksum)


def training_log(plans: Sequence[Plan], work: Path) -> str:
    """JSON lines: where the text is from and how many tokens it has, then the stages as they were trained."""
    text = Text(plans[0], work / "text")
    head = {"packages": text.versions, "tokens": len(text.read), "tokens held out": len(text.held_out)}
    logs = [(work / f"seed{plan.seed}" / "log.jsonl").read_text() for plan in plans]
    return json.dumps(head) + "\n" + "".join(logs)


def figure_frame(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """What `analysis.figures.dispersion` draws of a seed: a panel per entry of `PANELS`, a line per stage."""
    table = table[(table["seed"] == seed) & table["stage"].isin(DRAWN)]
    frames = []
    for title, (arrangement, name, even) in PANELS.items():
        rows = table[(table["kind"] == "replay") & (table["arrangement"] == arrangement) & (table["metric"] == name)]
        frames.append(rows.assign(source=rows["stage"].str.capitalize(), metric=title, uniform=even))
    return pd.concat(frames, ignore_index=True)


def main(
    images: Annotated[int, typer.Option(help="test images, from the first, and windows of text")] = 64,
    seeds: Annotated[int, typer.Option(help="runs, with seeds from 0")] = 2,
    work: Annotated[Path, typer.Option(help="stages and finished parts, kept for the next call")] = WORK,
    target: Annotated[Path, typer.Option(help="folder of the tables")] = DATA / "measured",
) -> None:
    """Train what is not trained yet, measure every stage, write table, log and figures."""
    plans = [replace(Plan(), seed=seed) for seed in range(seeds)]
    table = pd.concat([measured(plan, work, images) for plan in plans], ignore_index=True)
    target.mkdir(parents=True, exist_ok=True)
    table.assign(**provenance()).to_csv(target / f"{NAME}.csv", index=False, float_format="%.6g")
    (target / f"{NAME}.jsonl").write_text(training_log(plans, work))
    for plan in plans:
        figure = dispersion(figure_frame(table, plan.seed), metrics=tuple(PANELS))
        write(figure, target / f"{NAME}_{plan.seed}.png", dpi=200)
    typer.echo(f"{target / NAME}.csv: {len(table)} rows")


if __name__ == "__main__":
    typer.run(main)
