"""What the numbers of a study do not say, in sentences for the top of its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from analysis.evaluation import reproducibility
from analysis.evaluation.gate import Trainings
from analysis.figures import palette
from solvers import Status

from .settings import EXPLORED, PRUNERS
from .subject import Subject

FEW = 30
"""Images below which an interval says more about the images than about the model."""


def warnings(
    subject: Subject,
    raw: Mapping[str, pd.DataFrame],
    provenance: Mapping[str, str],
    *,
    embedded: bool,
    trainings: Trainings | None = None,
) -> list[str]:
    """Sentences, the weightiest first.

    Parameters
    ----------
    subject
        The model and what was asked of it.
    raw
        Rows of "selection" and "accuracy".
    provenance
        Of the run.
    embedded
        Whether the model is the one that comes with the toolkit.
    trainings
        Others that were trained alike, where somebody measured them.
    """
    found = [
        *_model(embedded),
        *_training(trainings),
        *_size(raw["accuracy"]),
        *_selection(raw["selection"]),
        *_left_out(subject),
    ]
    found.append(
        "Every pruner runs with the position ids of the whole prompt, so that the table compares tokens and nothing "
        "else. A method that numbers the kept tokens anew by itself can do better or worse than here."
    )
    if provenance["commit"].endswith("-dirty"):
        found.append("The code had changes that were not committed: the commit alone does not repeat this run.")
    return found


def _model(embedded: bool) -> Iterator[str]:
    if embedded:
        yield (
            "The model is the small one that comes with the toolkit, trained on synthetic pictures: which pruner wins "
            "here need not win on another model. Run the study with --model for yours."
        )


def _training(trainings: Trainings | None) -> Iterator[str]:
    if trainings is not None:
        rows = reproducibility(trainings.accuracy).to_dict("records")
        limits = " and ".join(f"{100 * row['limit']:.1f} points at {row['keep']:g} tokens" for row in rows)
        yield (
            f"Intervals are over images, and training moves accuracies too: by what {rows[0]['models']} trainings of "
            f"this model found, a difference between two pruners of less than {limits} may have the other sign in the "
            "next one (data/measured/seeds.csv)."
        )


def _size(accuracy: pd.DataFrame) -> Iterator[str]:
    images = accuracy["image_id"].nunique()
    if images < FEW:
        yield f"Accuracy rests on {images} image{'s' * (images > 1)}: intervals over so few are rough. Use --images."


def _selection(selection: pd.DataFrame) -> Iterator[str]:
    exact = selection[(selection["solver"] == "Exact") & selection["value"].notna()]
    unproven = int((exact["status"] != Status.OPTIMAL.label).sum())
    if unproven:
        yield (
            f"The exact solver ran into its time limit on {unproven} of {len(exact)} selection problems: there its "
            "selection is within the certified gap of the best, not proven to be the best."
        )
    unsupported = selection[selection["value"].isna()]
    if len(unsupported):
        names = ", ".join(dict.fromkeys(palette.look(str(name)).label for name in unsupported["solver"]))
        yield f"Not supported on the selection problems, and without a value there: {names}."


def _left_out(subject: Subject) -> Iterator[str]:
    absent = [palette.look(pruner.name).label for pruner in PRUNERS if pruner not in subject.pruners]
    if absent:
        yield f"Left out, because the benchmark states what an answer needs on another grid: {', '.join(absent)}."
    tokens = subject.grid[0] * subject.grid[1]
    large = [str(keep) for keep in subject.settings.keeps if keep not in subject.keeps]
    if large:
        yield f"Left out, because the model has {tokens} visual tokens only: budgets of {', '.join(large)}."
    inner = " and ".join(palette.look(pruner.name).label for pruner in EXPLORED)
    if subject.explored:
        yield f"{inner} work inside the language model: they are in the token explorer only, not in the tables."
    else:
        yield f"{inner} are not in the token explorer: this model keeps its visual tokens beside the prompt."
