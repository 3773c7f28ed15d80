"""What was recorded of other trainings counts for the models that were compared, and for no other."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.evaluation.gate import measured

TABLE = pd.DataFrame({"keep": [64], "model": ["a"], "other": ["b"], "contradicted": [0], "config_hash": ["abc+def"]})

ACCURACY = pd.DataFrame({"model": ["a", "b"], "pruner": "none", "keep": 576, "task": "mean", "estimate": [0.9, 0.8]})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(measured, "data_folder", lambda name: tmp_path / name)
    (tmp_path / "measured").mkdir()
    return tmp_path / "measured"


def test_without_a_record_there_is_none(folder: Path) -> None:
    assert measured.recorded_trainings("abc") is None


def test_a_record_belongs_to_the_models_it_names(folder: Path) -> None:
    TABLE.to_csv(folder / "seeds_agreement.csv", index=False)
    assert measured.recorded_trainings("abc") is None  # half a record
    ACCURACY.to_csv(folder / "seeds.csv", index=False)
    for known in ("abc", "def"):
        found = measured.recorded_trainings(known)
        assert found is not None
        pd.testing.assert_frame_equal(found.agreement, TABLE)
        pd.testing.assert_frame_equal(found.accuracy, ACCURACY)
    for unknown in ("abcd", "c+d", ""):
        assert measured.recorded_trainings(unknown) is None
