"""The comparison of training seeds, on models that are at hand."""

import pandas as pd
import pytest

from analysis import load
from analysis.evaluation import MiniVqa, reproducibility
from analysis.study.run import EMBEDDED
from analysis.study.settings import PRUNERS
from data.make.seeds import KEEPS, MEASURED, compare, trained
from data.make.vocabulary import TASKS


def test_a_run_that_is_not_finished_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"seed 3 has finished 0 of 8 phases in .*cpu-3: --train"):
        trained(3, tmp_path, train=False)


def test_shipped_limits_are_those_of_the_shipped_accuracies():
    shipped = pd.read_csv(MEASURED / "seeds_limits.csv", keep_default_na=False)
    expected = reproducibility(pd.read_csv(MEASURED / "seeds.csv"))
    pd.testing.assert_frame_equal(shipped[list(expected)], expected, rtol=1e-4, check_dtype=False)


def test_a_model_agrees_with_itself(tmp_path):
    task = MiniVqa("validation", images=10)
    vlm = load(str(EMBEDDED))
    accuracy, agreement = compare({"one": vlm, "two": vlm}, task, tmp_path, n_jobs=2)  # as the command does
    assert set(accuracy["model"]) == {"one", "two"}
    assert set(accuracy["task"]) == {*TASKS, "mean"}
    one, two = (
        accuracy[accuracy["model"] == name].drop(columns="model").reset_index(drop=True) for name in ("one", "two")
    )
    pd.testing.assert_frame_equal(one, two)
    assert agreement["keep"].tolist() == [*KEEPS, *KEEPS]
    assert agreement["level"].tolist() == pytest.approx([0.95, 0.95, 1 - 0.05 / 66, 1 - 0.05 / 66])
    assert agreement["tau"].tolist() == pytest.approx([1.0] * 4)
    assert (agreement["contradicted"] == 0).all()
    per_pair, corrected = agreement["apart"][:2], agreement["apart"][2:]
    assert (per_pair.to_numpy() >= corrected.to_numpy()).all()
    assert set(agreement["pruners"]) == {len(PRUNERS)}
    assert set(agreement["config_hash"]) == {f"{vlm.config_hash}+{vlm.config_hash}"}
