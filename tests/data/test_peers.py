"""The table of all pruners, on very little."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis import load
from analysis.evaluation import MiniVqa
from analysis.pruning import PRUNERS, pruner
from analysis.study.run import EMBEDDED
from data.make.peers import KEEPS, OTHERS_IMAGES, TARGET, TIME, peers, quick, took


def test_every_pruner_has_a_row_and_says_how_many_tokens_reached_a_layer() -> None:
    table = pd.read_csv(TARGET)
    mean = table[(table["task"] == "mean") & table["keep"].isin([64, 576])].set_index("pruner")
    assert set(mean.index) == {"none", *(entry.name for entry in PRUNERS)}
    for entry in PRUNERS:
        whole_grids = entry.name in ("pooling", "fopru_rows")
        assert mean.loc[entry.name, "kept"] == 64 or (whole_grids and mean.loc[entry.name, "kept"] <= 72)
        assert (mean.loc[entry.name, "visual_tokens"] > mean.loc[entry.name, "kept"]) == entry.inside
        assert mean.loc[entry.name, "images"] == (len(MiniVqa()) if quick(entry) else OTHERS_IMAGES)
    assert table["estimate"].between(table["low"], table["high"]).all()


def test_quick_pruners_have_every_budget() -> None:
    table = pd.read_csv(TARGET)
    budgets = table[table["task"] == "mean"].groupby("pruner")["keep"].apply(set)
    assert all(budgets[entry.name] == set(KEEPS) for entry in PRUNERS if quick(entry))


def test_the_time_is_that_of_at_least_twenty_pruners_at_five_budgets() -> None:
    (row,) = pd.read_csv(TIME).to_dict("records")
    asked = sum(quick(entry) for entry in PRUNERS)
    assert row["pruners"] == asked >= 20
    assert (row["budgets"], row["images"]) == (5, len(MiniVqa()))
    assert row["answers"] == row["questions"] * (1 + 5 * asked)


@pytest.mark.parametrize("names", [("vispruner", "divprune"), ("trim", "fastv")])
def test_the_table_is_made_of_evaluated_rows(names: tuple[str, str]) -> None:
    task, chosen = MiniVqa("validation", images=1), [pruner(name) for name in names]
    assert {quick(entry) for entry in chosen} == {names[0] == "vispruner"}
    table = peers(load(str(EMBEDDED)), task, chosen, (64,))
    assert set(table["pruner"]) == {"none", *names}
    assert table["position_ids"].eq("keep").all()
    assert table["model"].eq("data/mini_llava").all()
    row = took(table, chosen, task, 1, 90.0).iloc[0]
    assert (row["minutes"], row["answers"]) == (1.5, (1 + 2 * len(KEEPS)) * row["questions"])
