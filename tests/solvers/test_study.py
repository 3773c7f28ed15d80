"""Study: tables, ranks, profiles and files, on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from solvers import Exact, Greedy, Study, TopK, compare
from solvers.latex import escaped


@pytest.fixture
def study():
    values = {("a", 2): {"x_1": 4.0, "y": 2.0}, ("b", 2): {"x_1": 1.0, "y": 2.0}, ("a", 4): {"x_1": 8.0, "y": None}}
    rows = [
        {
            "problem": problem,
            "n": 9,
            "budget": budget,
            "objective": "f",
            "solver": solver,
            "seed": 0,
            "value": value,
            "upper_bound": 10.0,
            "gap": None if value is None else 10.0 - value,
            "relative_gap": None if value is None else 10.0 / value - 1,
            "bound_method": "hand",
            "seconds": 0.5,
            "evaluations": 1,
            "status": "feasible" if value else "unsupported",
            "reason": "",
            "selected": [0],
            "trace": [],
        }
        for (problem, budget), by_solver in values.items()
        for solver, value in by_solver.items()
    ]
    return Study(pd.DataFrame(rows).astype({"value": float, "gap": float, "relative_gap": float}))


def test_table_is_the_mean_over_problems(study):
    table = study.table()
    assert table.loc["x_1"].to_dict() == {2: 2.5, 4: 8.0}
    assert table.loc["y", 2] == 2.0
    assert np.isnan(table.loc["y", 4])
    assert study.table("gap").loc["x_1", 2] == 7.5


def test_ranks_count_the_instances_that_ran(study):
    ranks = study.ranks()
    assert ranks.loc["x_1"].to_dict() == {"mean rank": pytest.approx(4 / 3), "instances": 3}
    assert ranks.loc["y"].to_dict() == {"mean rank": 1.5, "instances": 2}
    assert ranks.index.tolist() == ["x_1", "y"]


def test_performance_profile(study):
    profile = study.performance_profile()
    assert profile.index.tolist() == [0.0, 0.5]
    assert profile["x_1"].tolist() == pytest.approx([2 / 3, 1.0])
    assert profile["y"].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert study.performance_profile(np.array([0.49]))["x_1"].tolist() == pytest.approx([2 / 3])


def test_latex(study):
    text = study.to_latex(decimals=1)
    assert r"x\_1 & \textbf{2.5} & \textbf{8.0} \\" in text
    assert r"y & 2.0 & -- \\" in text
    assert text.splitlines()[:4] == [r"\begin{tabular}{lrr}", r"\toprule", r"solver & 2 & 4 \\", r"\midrule"]
    assert text.splitlines()[-2:] == [r"\bottomrule", r"\end{tabular}"]
    # Of a gap the smallest is best.
    assert r"x\_1 & \textbf{7.5}" in study.to_latex("gap", decimals=1)


def test_latex_of_several_objectives_has_a_line_for_them(study):
    both = Study(pd.concat([study.frame, study.frame.assign(objective="g & h")], ignore_index=True))
    lines = both.to_latex(decimals=0).splitlines()
    assert lines[2] == r" & \multicolumn{2}{c}{f} & \multicolumn{2}{c}{g \& h} \\"
    assert lines[3] == r"\cmidrule(lr){2-3}\cmidrule(lr){4-5}"
    assert lines[4] == r"solver & 2 & 4 & 2 & 4 \\"


def test_everything_that_means_something_to_latex_is_escaped():
    assert escaped(r"a\b{c}_d^e~f#g$h%i&j<k>l|m") == (
        r"a\textbackslash{}b\{c\}\_d\textasciicircum{}e\textasciitilde{}f\#g\$h\%i\&j\textless{}k\textgreater{}"
        r"l\textbar{}m"
    )


def test_infinite_numbers_have_a_sign_in_latex(study):
    frame = study.frame.assign(gap=np.where(study.frame["solver"] == "y", np.inf, study.frame["gap"]))
    assert r"y & $\infty$ & -- \\" in Study(frame).to_latex("gap")


def test_representations_are_short_and_escaped(study):
    named = Study(study.frame.replace({"solver": {"y": "<script>alert(1)</script>"}}))
    assert repr(named) == "Study(2 problems, 2 budgets, 1 objective, 2 solvers: 5 runs, 1 unsupported)"
    page = named._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<table" in page


def test_a_study_without_a_single_value_has_empty_tables(make_problem):
    study = compare(make_problem(), [TopK("gaze")], progress=False)
    assert study.table().empty
    assert study.ranks().empty
    assert study.performance_profile().empty
    assert study.to_latex().endswith("\\end{tabular}\n")


def test_unknown_columns_suggest_the_nearest(study):
    with pytest.raises(KeyError, match="unknown column 'vlaue'; did you mean 'value'"):
        study.table("vlaue")


def test_save_and_load(tmp_path, make_problem):
    study = compare(make_problem(), [Greedy(), Exact(), TopK("gaze")], progress=False)
    study.save(tmp_path / "deep" / "selection.parquet")
    loaded = Study.load(tmp_path / "deep" / "selection.parquet")
    assert loaded.frame.columns.tolist() == study.frame.columns.tolist()
    assert loaded.frame["selected"].tolist() == study.frame["selected"].tolist()
    assert loaded.frame["trace"].tolist() == study.frame["trace"].tolist()
    assert len(loaded.frame["trace"][1][0]) == 3
    assert loaded.frame["value"].equals(study.frame["value"])
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["selection.parquet"]


def test_load_refuses_missing_damaged_and_foreign_files(tmp_path, study):
    with pytest.raises(FileNotFoundError, match="no study at"):
        Study.load(tmp_path / "none.parquet")
    path = tmp_path / "s.parquet"
    study.save(path)
    content = path.read_bytes()
    for damaged in (b"", b"PAR1 nonsense", content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(OSError, match="is damaged or not a Parquet file"):
            Study.load(path)
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(ValueError, match="`frame` must have the columns of a study, got none of the name 'problem'"):
        Study.load(path)
