"""The table of all pruners, on very little."""

from __future__ import annotations

from analysis import load
from analysis.evaluation import MiniVqa
from analysis.pruning import PRUNERS
from analysis.study.run import EMBEDDED
from data.make.peers import TARGET, peers


def test_every_pruner_has_a_row_and_says_how_many_tokens_reached_a_layer() -> None:
    import pandas as pd

    table = pd.read_csv(TARGET)
    mean = table[table["task"] == "mean"].set_index("pruner")
    assert set(mean.index) == {"none", *(entry.name for entry in PRUNERS)}
    for entry in PRUNERS:
        whole_grids = entry.name in ("pooling", "fopru_rows")
        assert mean.loc[entry.name, "kept"] == 64 or (whole_grids and mean.loc[entry.name, "kept"] <= 72)
        assert (mean.loc[entry.name, "visual_tokens"] > mean.loc[entry.name, "kept"]) == entry.inside
    assert mean["estimate"].between(mean["low"], mean["high"]).all()


def test_the_table_is_made_of_evaluated_rows() -> None:
    table = peers(load(str(EMBEDDED)), MiniVqa("validation", images=1), 1, (64,))
    assert set(table["pruner"]) == {"none", *(entry.name for entry in PRUNERS)}
    assert table["position_ids"].eq("keep").all()
