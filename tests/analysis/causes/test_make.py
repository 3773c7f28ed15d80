from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.causes import Exam
from data.make.causes import EXPERIMENTS, Experiment, run


def counted(calls: list[int]) -> Experiment:
    def measure(exam: Exam) -> pd.DataFrame:
        calls.append(len(exam.samples))
        return exam.answered()

    return Experiment("answers", measure, lambda rows: rows)


def test_every_table_is_made_and_a_second_run_measures_nothing(exam: Exam, tmp_path: Path) -> None:
    calls: list[int] = []
    chosen = (counted(calls), *(entry for entry in EXPERIMENTS if entry.name == "quartiles"))
    first = run(exam.vlm, exam.task, 2, tmp_path, experiments=chosen, progress=False)
    again = run(exam.vlm, exam.task, 2, tmp_path, experiments=chosen, progress=False)
    assert list(first) == ["answers", "quartiles"]
    assert calls == [2]
    for name, table in first.items():
        assert len(table) > 0
        pd.testing.assert_frame_equal(table, again[name])


def test_a_folder_of_other_settings_is_refused(exam: Exam, tmp_path: Path) -> None:
    plain = counted([])
    run(exam.vlm, exam.task, 1, tmp_path, experiments=(plain,), progress=False)
    other = Experiment("answers", plain.measure, plain.summarise, "seed 1")
    with pytest.raises(ValueError, match="settings"):
        run(exam.vlm, exam.task, 1, tmp_path, experiments=(other,), progress=False)
    with pytest.raises(ValueError, match=r"`images` must be in \[1, 2\], got 3"):
        run(exam.vlm, exam.task, 3, tmp_path, experiments=(plain,), progress=False)
