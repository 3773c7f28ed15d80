from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from analysis.causes import Exam
from analysis.causes.recipe import READ, recipe
from data.make import causes
from data.make.causes import Experiment, run

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources that count, somewhere else."""
    home = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "solvers", home / "solvers", ignore=shutil.ignore_patterns("__pycache__"))
    for name in READ:
        folder = home / "analysis" / name
        shutil.copytree(ROOT / "analysis" / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return home


def recipe_in(home: Path) -> str:
    """What the copy says of itself: run as a file, as the package around it needs all of its imports."""
    code = "import runpy; print(runpy.run_path('analysis/causes/recipe.py')['recipe']())"
    run = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_a_changed_line_anywhere_changes_the_recipe(copied: Path) -> None:
    found = [recipe_in(copied)]
    for changed in ("solvers/greedy.py", "analysis/causes/exam.py", "analysis/capture/streamed.py"):
        file = copied / changed
        file.write_text(file.read_text() + "\n# one more\n")
        found.append(recipe_in(copied))
    assert len(set(found)) == 4
    assert all(re.fullmatch("[0-9a-f]{16}", digits) for digits in found)


def test_a_run_of_other_code_is_not_continued(exam: Exam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Experiment("answers", lambda some: some.answered(), lambda rows: rows)
    first = run(exam.vlm, exam.task, 1, tmp_path, experiments=(plain,), progress=False)
    again = run(exam.vlm, exam.task, 1, tmp_path, experiments=(plain,), progress=False)
    pd.testing.assert_frame_equal(first["answers"], again["answers"])
    monkeypatch.setattr(causes, "recipe", lambda: "0" * 16)
    with pytest.raises(ValueError, match=f"was made for code '{recipe()}', this evaluation has '0{{16}}'"):
        run(exam.vlm, exam.task, 1, tmp_path, experiments=(plain,), progress=False)
