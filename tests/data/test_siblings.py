"""Every shipped sibling: small safetensors that answer, and a card that states what was measured of these files."""

import json
from functools import cache

import pandas as pd
import pytest

from analysis import evaluate
from analysis.evaluation import MiniVqa
from data.make.gate import card_table
from data.make.siblings import SIBLINGS
from data.make.siblings.sibling import KEEPS, ORIGIN, recall_table
from data.make.train import Recipe
from data.make.vocabulary import TASKS

pytestmark = pytest.mark.parametrize("sibling", SIBLINGS, ids=lambda sibling: sibling.name)


@cache
def measured(sibling, which=""):
    return pd.read_csv(sibling.table(which))


def test_it_is_safetensors_of_a_few_megabytes(sibling):
    assert {path.suffix for path in sibling.folder.iterdir()} == {".json", ".jinja", ".md", ".safetensors"}
    assert sum(path.stat().st_size for path in sibling.folder.iterdir()) < 6e6


def test_it_answers_questions_it_has_not_seen(sibling):
    rows = evaluate(sibling.vlms()[0], MiniVqa("validation"), [], images=12, progress=False)
    assert rows["correct"].mean() > 0.85


def test_the_measured_models_are_the_shipped_ones(sibling):
    for vlm in sibling.vlms():
        for table in (measured(sibling), measured(sibling, "evidence")):
            rows = table[table["model"] == vlm.id]
            assert set(rows["config_hash"]) == {vlm.config_hash}
            assert set(rows["task_checksum"]) == {MiniVqa().checksum}


def test_every_task_was_measured_at_every_budget(sibling):
    own = measured(sibling)[measured(sibling)["model"] == sibling.model]
    cells = own[own["pruner"] != "none"].groupby(["pruner", "keep"])["task"].agg(set)
    names = (*sibling.pruners, *sibling.pruners_together)
    assert set(cells.index) == {(name, keep) for name in names for keep in KEEPS}
    assert all(tasks == {*TASKS, "mean"} for tasks in cells)
    assert set(own.loc[own["pruner"] == "none", "task"]) == {*TASKS, "mean"}


def test_its_log_is_that_of_its_recipe(sibling):
    recipe, phases = Recipe.read(sibling.recipe), pd.read_csv(sibling.table("training"))
    assert phases["phase"].tolist() == [phase.name for phase in recipe.phases]
    lines = sibling.table("training").with_suffix(".jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == phases["step"].iloc[-1]


def test_the_card_states_what_was_measured(sibling):
    card = (sibling.folder / "README.md").read_text()
    own = measured(sibling)[measured(sibling)["model"] == sibling.model]
    frame = pd.read_parquet(sibling.folder.parent / "mini_vqa" / "test.parquet")
    frame = frame[frame["image_id"].isin(frame["image_id"].drop_duplicates()[: own["images"].max()])]
    priors = {
        task: rows["answer"].value_counts(normalize=True).iloc[0] for task, rows in frame.groupby("task", sort=False)
    }
    assert card_table(own, priors) in card
    assert sibling.means_table(measured(sibling)) in card
    assert recall_table(measured(sibling, "evidence")) in card
    assert sibling.most_lost(measured(sibling)) in " ".join(card.split())


def test_most_lost_is_the_largest_difference(sibling):
    cells = {("none", 576): (0.9, 0.8, 0.7), ("vispruner", 64): (0.8, 0.4, 0.6)}
    rows = [
        {"pruner": pruner, "keep": keep, "model": model, "task": task, "estimate": value}
        for (pruner, keep), values in cells.items()
        for model, shift in ((sibling.model, 0.0), (ORIGIN, 0.05 * (pruner == "none")))
        for task, value in zip(("tiny", "text", "mean"), (v + shift for v in values), strict=True)
    ]
    assert sibling.most_lost(pd.DataFrame(rows), tasks=1) == "text, 0.400 (of the origin 0.450)"
