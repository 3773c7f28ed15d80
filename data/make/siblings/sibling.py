"""What a sibling of the embedded model is: a recipe that starts from its weights, and a card of what it can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from analysis import load
from analysis.models import Vlm
from analysis.study.run import EMBEDDED

from ..gate import card_table
from ..history import core_minutes, phase_table
from ..train import Recipe, quick_score
from ..trainees import new_trainee
from ..warm_start import warm_start

DATA = Path(__file__).parents[2]
ORIGIN = "data/mini_llava"
KEEPS = (192, 64, 32)

CARD = """# {name}

{description}
## Accuracy on the test split of mini_vqa

The first {images} images with {questions:,} questions, exact match, position ids kept; 95 % intervals resample images.
Means over the eight tasks, of the sibling and, on the same questions, of {origin}:

{means}

By task, of the sibling; the majority prior is the share of a task's most frequent answer:

{tasks}

Share of the tokens an answer needs that are among those ranked first in the block of the features, by the CLS row
of the origin and by {signal} of the sibling, over the questions that need any:

{recall}

All rows are in `data/measured/{prefix}.csv` and `data/measured/{prefix}_evidence.csv`, written by
`python -m data.make.sibling {recipe}`.

## Training

{warm} Before any training this
answers {start:.3f} of the questions about 60 fresh scenes, mean over tasks. Then came {trained:,} rendered pictures
in {steps:,} steps of the same mix of questions, {minutes:.0f} minutes of wall time and {core_minutes:.0f}
core-minutes on one shared processor core, no GPU. `data/make/{recipe}.toml` is the recipe,
`data/measured/{prefix}_training.csv` what each phase of it reached; `python -m data.make.sibling {recipe} --train`
does it all again from `data/mini_llava`.

## Known weaknesses

Questions outside the forms of mini_vqa have no meaning to it. Its weakest task with all tokens is {weakest}.
VisPruner at 64 tokens takes most from {lost}.
{weakness}
"""


@dataclass(frozen=True)
class Sibling:
    """A model that starts from the weights of the embedded one.

    Parameters
    ----------
    recipe
        Name of its recipe, and of the sibling on the command line.
    prefix
        What the names of its tables in `data/measured` begin with.
    pruners
        Those it is measured under.
    together
        Those that also see the pictures of an image as one.
    description, origin, signal, warm, weakness
        What its card says of it: first paragraphs (`str.format` fills in parameters, vision and text), the origin in
        few words, which attention its evidence is, what the warm start does, and what it cannot do.
    """

    recipe: str
    prefix: str
    pruners: tuple[str, ...]
    description: str
    origin: str
    signal: str
    warm: str
    weakness: str
    together: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"mini_llava_{self.recipe}"

    @property
    def model(self) -> str:
        """Its name in the tables."""
        return f"data/{self.name}"

    @property
    def pruners_together(self) -> dict[str, str]:
        """The entries of `together` by their names in the tables."""
        return {f"{name}, together": name for name in self.together}

    @property
    def folder(self) -> Path:
        return DATA / self.name

    @property
    def log_name(self) -> str:
        return f"{self.prefix}_training"

    def table(self, which: str = "") -> Path:
        """Where its accuracy is kept, or the table of another name."""
        return DATA / "measured" / f"{'_'.join(filter(None, (self.prefix, which)))}.csv"

    def vlms(self) -> tuple[Vlm, Vlm]:
        """The sibling and its origin, under the names they have in the tables."""
        named = ((self.folder, self.model), (EMBEDDED, ORIGIN))
        return tuple(replace(load(str(folder)), id=model) for folder, model in named)  # type: ignore[return-value]

    def accuracy_at_start(self) -> float:
        """Mean accuracy on fresh scenes of the warm start, before its first step."""
        trainee = new_trainee(Recipe.read(self.recipe).size).eval()
        warm_start(trainee, EMBEDDED)
        return quick_score(trainee)["mean"]

    def write_card(
        self, accuracy: pd.DataFrame, evidence: pd.DataFrame, priors: Mapping[str, float], start: float
    ) -> None:
        """The card of the exported model, from the measured tables and the log of its training."""
        log = DATA / "measured" / f"{self.log_name}.jsonl"
        phases, vlm = phase_table(log), self.vlms()[0]
        own = accuracy[accuracy["model"] == self.model]
        full = own[(own["pruner"] == "none") & (own["task"] != "mean")].set_index("task")["estimate"]
        config = vlm.model.config
        parts = {"parameters": vlm.model.num_parameters(), "vision": config.vision_config, "text": config.text_config}
        card = CARD.format(
            name=self.name,
            description=self.description.format(**parts),
            origin=self.origin,
            signal=self.signal,
            prefix=self.prefix,
            recipe=self.recipe,
            warm=self.warm,
            weakness=self.weakness,
            images=own["images"].max(),
            questions=own["questions"].max(),
            means=self.means_table(accuracy),
            tasks=card_table(own, priors),
            recall=recall_table(evidence),
            start=start,
            trained=phases["images"].iloc[-1],
            steps=phases["step"].iloc[-1],
            minutes=phases["minutes"].sum(),
            core_minutes=core_minutes(log),
            lost=self.most_lost(accuracy),
            weakest=f"{full.idxmin()}, {full.min():.3f}",
        )
        (self.folder / "README.md").write_text(card)

    def means_table(self, accuracy: pd.DataFrame) -> str:
        """Markdown: a row per pruner and budget, a column per model, the mean over tasks with its interval."""
        cells = accuracy[accuracy["task"] == "mean"]
        models = (self.model, ORIGIN)
        lines = ["| pruner | tokens | " + " | ".join(name.removeprefix("data/") for name in models) + " |"]
        lines.append("|---|---|" + "---|" * len(models))
        unpruned = cells["pruner"] == "none"
        rows: list[tuple[str, int | str, pd.Series]] = [("none", "all", unpruned)]
        rows += [
            (name, keep, (cells["pruner"] == name) & (cells["keep"] == keep))
            for name in (*self.pruners, *self.pruners_together)
            for keep in KEEPS
        ]
        for name, keep, chosen in rows:
            at = {row["model"]: _interval(row) for _, row in cells[chosen].iterrows()}
            lines.append(f"| {name} | {keep} | " + " | ".join(at.get(model, "") for model in models) + " |")
        return "\n".join(lines)

    def most_lost(self, accuracy: pd.DataFrame, tasks: int = 2) -> str:
        """The tasks from which VisPruner takes most at 64 tokens, each with what it takes of the origin."""
        at = accuracy[accuracy["task"] != "mean"]
        full, pruned = (
            at[rows].set_index(["model", "task"])["estimate"]
            for rows in (at["pruner"] == "none", (at["pruner"] == "vispruner") & (at["keep"] == 64))
        )
        lost = full - pruned
        worst = lost[self.model].nlargest(tasks).index
        return " and ".join(
            f"{task}, {lost[self.model, task]:.3f} (of the origin {lost[ORIGIN, task]:.3f})" for task in worst
        )


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
