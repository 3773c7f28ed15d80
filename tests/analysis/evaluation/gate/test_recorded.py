"""What was recorded of other trainings and of a long run counts for the models they are of, and for no other."""

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


def test_a_time_belongs_to_the_model_and_the_run_of_its_answers(folder: Path) -> None:
    assert measured.recorded_time("abc") is None
    answers = pd.DataFrame({"config_hash": "abc", "commit": ["1234"] * 2})
    time = pd.DataFrame({"minutes": [14.0], "commit": "1234"})
    answers.to_csv(folder / "peers.csv", index=False)
    assert measured.recorded_time("abc") is None  # half a record
    time.to_csv(folder / "peers_time.csv", index=False)
    found = measured.recorded_time("abc")
    assert found is not None
    assert found["minutes"].tolist() == [14.0]
    assert measured.recorded_time("def") is None
    time.assign(commit="5678").to_csv(folder / "peers_time.csv", index=False)
    assert measured.recorded_time("abc") is None
