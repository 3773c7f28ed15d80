"""compare: rows, shared bounds, independent seeds, and resuming after every way to die."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pytest

import solvers
from solvers import (
    BruteForce,
    Conflict,
    DppMap,
    Exact,
    FacilityLocation,
    Greedy,
    KDpp,
    LogDet,
    MaxMin,
    Mixture,
    Problem,
    Random,
    Saliency,
    TopK,
    compare,
)
from solvers.compare import child_seed
from solvers.study import COLUMNS

NUMBERS = ["problem", "budget", "solver", "seed", "value", "upper_bound", "gap", "status", "reason"]


def numbers(study):
    """Everything that must be reproducible, as plain comparable text (NaN equals NaN)."""
    return (
        study.frame[[*NUMBERS, "selected"]]
        .map(lambda x: repr(list(x) if isinstance(x, np.ndarray) else x))
        .to_dict("records")
    )


@pytest.fixture
def problems(make_problem):
    return [make_problem(seed=seed, id=f"p{seed}") for seed in range(2)]


def test_one_row_per_problem_budget_solver_and_seed(problems):
    study = compare(problems, [Greedy(), Random()], budgets=[2, 4], seeds=(0, 1, 2), progress=False)
    frame = study.frame
    assert tuple(frame.columns[: len(COLUMNS)]) == COLUMNS
    assert set(solvers.provenance()) == set(frame.columns[len(COLUMNS) :])
    # Greedy does not look at the seed and runs once.
    assert len(frame) == 2 * 2 * (1 + 3)
    assert not frame.duplicated(["problem", "budget", "solver", "seed"]).any()
    assert frame["problem"].tolist() == ["p0"] * 8 + ["p1"] * 8
    assert frame["budget"].tolist()[:8] == [2] * 4 + [4] * 4
    assert (frame["selected"].str.len() == frame["budget"]).all()
    assert (frame["n"] == 12).all()


def test_every_value_carries_a_gap_for_every_objective(problems):
    for objective in (FacilityLocation(), LogDet(), MaxMin(), solvers.Saliency()):
        frame = compare(problems, objective=objective, progress=False).frame
        ran = frame[frame["status"] != "unsupported"]
        assert np.isfinite(ran[["value", "upper_bound", "gap", "relative_gap"]]).all().all()
        assert (ran["gap"] >= 0).all()
        # 3 of 12 tokens are no whole row of 4.
        assert frame[frame["solver"] == "fopru_rows"]["reason"].str.contains("keeps whole rows of 4").all()
        best = [BruteForce().solve(problem, objective).value for problem in problems]
        bound = frame.groupby("problem")["upper_bound"].min().tolist()
        assert all(b >= v - 1e-9 for b, v in zip(bound, best, strict=True))


def test_all_rows_of_a_cell_share_the_bound_and_exact_may_tighten_its_own():
    rng = np.random.default_rng(5)
    problem = Problem.from_features(rng.normal(size=(60, 6)), 8)
    frame = compare(problem, [Greedy(), Random(), Exact()], progress=False).frame.set_index("solver")
    assert frame.loc["Greedy", "upper_bound"] == frame.loc["Random", "upper_bound"]
    assert frame.loc["Greedy", "bound_method"] == "Lagrangian dual"
    assert frame.loc["Exact", "upper_bound"] <= frame.loc["Greedy", "upper_bound"]
    assert frame.loc["Exact", "status"] == "optimal"


def test_unsupported_combinations_are_rows_with_a_reason(problems):
    row = compare(problems[0], [Exact(), TopK("gaze")], Mixture(), progress=False).frame.iloc
    assert row[0]["status"] == row[1]["status"] == "unsupported"
    assert row[0]["reason"].startswith("Exact has methods for")
    assert row[1]["reason"].startswith("unknown signal 'gaze'")
    assert np.isnan(row[0]["value"])
    assert row[0]["selected"] == []


def test_an_objective_without_its_signal_is_a_reason_too(problems):
    frame = compare(problems, [Greedy()], solvers.Saliency("gaze"), progress=False).frame
    assert frame["reason"].str.contains("unknown signal 'gaze'").all()
    assert frame["bound_method"].tolist() == ["none", "none"]


def test_another_solver_or_problem_changes_no_numbers(problems):
    alone = compare(problems[1], [Random(), KDpp()], seeds=(3,), progress=False)
    crowd = compare(problems, [Greedy(), KDpp(), Exact(), Random()], seeds=(1, 3), progress=False).frame
    twins = crowd[(crowd["problem"] == "p1") & (crowd["seed"] == 3) & crowd["solver"].isin(["Random", "KDpp"])]
    assert sorted(map(str, numbers(alone))) == sorted(map(str, numbers(solvers.Study(twins))))


def test_child_seeds_depend_on_every_name():
    seeds = {child_seed(p, s, n) for p in ("a", "b") for s in ("x", "y") for n in (0, 1)}
    assert len(seeds) == 8
    assert child_seed("a", "x", 0) == 4154101413612248360


def test_parallel_equals_sequential(problems):
    chosen = [Greedy(), Random(), KDpp(), DppMap()]
    assert numbers(compare(problems, chosen, n_jobs=2, progress=False)) == numbers(
        compare(problems, chosen, progress=False)
    )


def test_several_objectives_are_their_studies_together(problems):
    chosen, objectives = [Greedy(), Random(), Exact()], [FacilityLocation(), MaxMin(), solvers.Saliency("gaze")]
    frame = compare(problems, chosen, objectives, budgets=[2, 4], progress=False).frame
    assert frame["objective"].unique().tolist() == [entry.name for entry in objectives]
    assert not frame.duplicated(["problem", "budget", "objective", "solver", "seed"]).any()
    assert frame["objective"].tolist()[:9] == [entry.name for entry in objectives for _ in chosen]
    for entry in objectives:
        alone = compare(problems, chosen, entry, budgets=[2, 4], progress=False)
        assert numbers(solvers.Study(frame[frame["objective"] == entry.name])) == numbers(alone)


def test_a_time_limit_ends_the_search_and_keeps_what_is_known():
    rng = np.random.default_rng(5)
    problem = Problem.from_features(rng.normal(size=(60, 6)), 8)
    frame = compare(problem, [Exact(), Greedy()], time_limit=1e-9, progress=False).frame.set_index("solver")
    assert frame.loc["Exact", "status"] == "time_limit"
    assert frame.loc["Greedy", "status"] == "feasible"  # one pass, which no limit cuts off
    assert np.isfinite(frame[["value", "upper_bound"]]).all().all()
    finished = compare(problem, [Exact()], time_limit=None, progress=False).frame
    assert finished["status"].tolist() == ["optimal"]
    assert finished["value"][0] <= frame["upper_bound"].min()


def test_joblib_decides_about_processes_unless_told(problems, monkeypatch):
    used = []
    parallel = joblib.Parallel
    monkeypatch.setattr("joblib.Parallel", lambda **options: used.append(options["n_jobs"]) or parallel(**options))
    compare(problems, [TopK()], progress=False)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        compare(problems, [TopK()], n_jobs=1, progress=False)
        assert used == []
        study = compare(problems, [TopK()], progress=False)
    assert used == [None]
    assert numbers(study) == numbers(compare(problems, [TopK()], progress=False))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"objective": []}, "`objective` must not be empty"),
        ({"objective": [MaxMin(), MaxMin()]}, "`objective` must be distinct, got 'MaxMin' more than once"),
        ({"objective": "MaxMin"}, "`objective` must be one or several objectives of `solvers.OBJECTIVES`, got 'M'"),
        ({"problems": []}, "`problems` must not be empty"),
        ({"solvers": []}, "`solvers` must not be empty"),
        ({"seeds": []}, "`seeds` must not be empty"),
        ({"budgets": []}, "`budgets` must not be empty"),
        ({"budgets": [2, 13]}, r"`budget` must be in \[1, 12\], got 13"),
        ({"solvers": [Greedy(), Greedy()]}, "`solvers` must be distinct, got 'Greedy' more than once"),
        ({"seeds": [1, 1]}, "`seeds` must be distinct, got '1' more than once"),
        ({"seeds": [0, -1]}, "`seed` must be a non-negative integer, got -1"),
        ({"seeds": ["a"]}, "`seed` must be a non-negative integer, got 'a'"),
        ({"time_limit": -1}, "`time_limit` must be positive seconds or None, got -1"),
        ({"time_limit": "1"}, "`time_limit` must be positive seconds or None, got '1'"),
    ],
)
def test_wrong_input_is_named(arguments, text, make_problem):
    with pytest.raises(ValueError, match=text):
        compare(**({"problems": make_problem(), "progress": False} | arguments))


def test_repeated_problem_ids_are_refused(make_problem):
    with pytest.raises(ValueError, match="`problems` must be distinct, got 'same' more than once"):
        compare([make_problem(id="same"), make_problem(seed=1, id="same")], [Greedy()], progress=False)


def test_resume_computes_only_what_is_missing(problems, tmp_path):
    chosen = [Greedy(), Random(), TopK()]
    first = compare(problems, chosen, store=tmp_path, progress=False)
    stamps = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    # Two bounds and six rows.
    assert len(stamps) == 8
    for name in list(stamps)[::3]:
        (tmp_path / name).unlink()
    kept = {path.name for path in tmp_path.iterdir()}
    second = compare(problems, chosen, store=tmp_path, progress=False)
    assert numbers(second) == numbers(first)
    now = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert all(now[name] == stamps[name] for name in kept)
    seconds = compare(problems, chosen, store=tmp_path, progress=False).frame["seconds"].tolist()
    assert seconds == second.frame["seconds"].tolist()


def test_a_stored_row_is_used_only_for_the_very_same_run(make_problem, tmp_path):
    run = {"store": tmp_path, "progress": False}
    compare(make_problem(id="p"), [Random()], **run)
    other = compare(make_problem(id="p", seed=9), [Random()], **run)
    assert numbers(other) == numbers(compare(make_problem(id="p", seed=9), [Random()], progress=False))
    before = len(list(tmp_path.iterdir()))
    compare(make_problem(id="p"), [TopK("relevance")], MaxMin(), **run)
    compare(make_problem(id="p"), [Random()], time_limit=5, **run)
    assert len(list(tmp_path.iterdir())) == before + 4


def test_other_code_shares_no_stored_row(make_problem, tmp_path, monkeypatch):
    run = {"store": tmp_path, "progress": False}
    first = compare(make_problem(), [Greedy()], **run)
    old = {path: path.read_text() for path in tmp_path.iterdir()}
    monkeypatch.setitem(compare.__globals__, "code_digest", lambda: "0123456789abcdef")
    assert numbers(compare(make_problem(), [Greedy()], **run)) == numbers(first)
    assert len(list(tmp_path.iterdir())) == 2 * len(old)
    assert {path: path.read_text() for path in old} == old


def test_a_solver_of_ones_own_is_recognised_by_its_source(make_problem, tmp_path, monkeypatch):
    """The same module, class and parameters, edited between two runs."""
    found = []
    for order in ("", "[::-1]"):
        source = f"""
from dataclasses import dataclass
import numpy as np
from solvers.solver import AbstractSolver, Outcome

@dataclass(frozen=True)
class Ends(AbstractSolver):
    def _solve(self, problem, objective, rng, time_limit):
        return Outcome(np.arange(problem.tokens){order}[:problem.budget])
"""
        folder = tmp_path / f"code{order}"
        folder.mkdir()
        (folder / "own_solver.py").write_text(source)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(folder))
            solver = importlib.import_module("own_solver").Ends()
            for _ in range(2):
                row = compare(make_problem(), [solver], store=tmp_path / "store", progress=False).frame.iloc[0]
            found.append(row["selected"])
        del sys.modules["own_solver"]
    assert found == [[0, 1, 2], [11, 10, 9]]
    assert len(list((tmp_path / "store").iterdir())) == 1 + 2


def test_a_worker_with_other_code_is_refused(make_problem, monkeypatch):
    digests = iter(["the caller's", "the worker's", "the worker's"])
    monkeypatch.setitem(compare.__globals__, "code_digest", lambda: next(digests))
    with pytest.raises(RuntimeError, match="this worker runs the code the worker's, and the caller the caller's"):
        compare(make_problem(), [Greedy()], progress=False)


def test_the_same_name_and_parameters_in_another_class_are_another_run(make_problem, tmp_path):
    """A store is shared by everybody; classes of one name from two modules print alike."""
    twins = []
    for factor in (1.0, 2.0):
        namespace = {
            "__module__": f"module_{factor:.0f}",
            "__qualname__": "Mine",
            "factor": factor,
            "value": scaled_value,
        }
        twins.append(dataclasses.dataclass(frozen=True)(type("Mine", (FacilityLocation,), namespace))())
    assert repr(twins[0]) == repr(twins[1])
    values = [
        compare(make_problem(), [TopK()], twin, store=tmp_path, progress=False).frame["value"][0] for twin in twins
    ]
    assert values[1] == 2 * values[0]


def scaled_value(self, problem, selected):
    return self.factor * FacilityLocation.value(self, problem, selected)


def test_numpy_numbers_are_numbers(make_problem, tmp_path):
    arguments = {"seeds": np.arange(2), "budgets": np.array([2, 3]), "time_limit": np.int64(5)}
    study = compare(make_problem(), [Random()], store=tmp_path, progress=False, **arguments)
    plain = compare(make_problem(), [Random()], seeds=(0, 1), budgets=[2, 3], time_limit=5.0, progress=False)
    assert numbers(study) == numbers(plain)


def test_a_changed_digit_in_the_store_is_found(make_problem, tmp_path):
    first = compare(make_problem(), [Greedy()], store=tmp_path, progress=False)
    row = next(path for path in tmp_path.iterdir() if '"selected"' in path.read_text())
    part = json.loads(row.read_text())
    part["result"]["value"] += 0.1
    row.write_text(json.dumps(part))
    with pytest.warns(UserWarning, match="its result is not the one that was stored"):
        assert numbers(compare(make_problem(), [Greedy()], store=tmp_path, progress=False)) == numbers(first)


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00\xff", '{"key": 1, "result": {}}'])
def test_damaged_parts_are_reported_and_computed_again(content, make_problem, tmp_path):
    problem = make_problem()
    first = compare(problem, [Greedy()], store=tmp_path, progress=False)
    for path in tmp_path.iterdir():
        path.write_text(content)
    with pytest.warns(UserWarning, match="is damaged and will be computed again"):
        second = compare(problem, [Greedy()], store=tmp_path, progress=False)
    assert numbers(second) == numbers(first)
    assert numbers(compare(problem, [Greedy()], store=tmp_path, progress=False)) == numbers(first)


def test_a_file_is_no_store(make_problem, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="`store` must be a folder, got the file"):
        compare(make_problem(), [Greedy()], store=tmp_path / "file", progress=False)


KILLED = """
import sys, time, numpy as np
from solvers import Problem, Random, Greedy, compare
from solvers.objectives import FacilityLocation

if sys.argv[2] == "slow":
    quick = FacilityLocation.value
    def slow(*arguments):
        time.sleep(0.02)
        return quick(*arguments)
    FacilityLocation.value = slow

rng = np.random.default_rng(0)
problems = [Problem.from_features(rng.normal(size=(9, 3)), 3, id=f"p{i}") for i in range(4)]
study = compare(problems, [Random(), Greedy()], seeds=range(6), store=sys.argv[1], progress=False)
study.save(sys.argv[1] + ".parquet")
"""


def test_kill_9_loses_nothing_and_repeats_nothing(tmp_path):
    def start(folder, speed):
        environment = os.environ | {"PYTHONPATH": str(Path(solvers.__file__).parents[1])}
        return subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / folder), speed], env=environment)

    reference = start("whole", "fast")
    run = start("killed", "slow")
    while run.poll() is None and len(list((tmp_path / "killed").glob("*.json"))) < 5:
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    finished = {path.name: path.read_text() for path in (tmp_path / "killed").glob("*.json")}
    assert 5 <= len(finished) < 32
    assert all(json.loads(text)["result"] for text in finished.values())
    assert start("killed", "fast").wait() == 0
    assert reference.wait() == 0
    killed, whole = (solvers.Study.load(tmp_path / f"{name}.parquet") for name in ("killed", "whole"))
    assert len(whole.frame) == 4 * 7
    assert numbers(killed) == numbers(whole)
    assert all((tmp_path / "killed" / name).read_text() == text for name, text in finished.items())


def test_default_solvers_have_distinct_names_and_hold_every_rule():
    names = [solver.name for solver in solvers.default_solvers()]
    assert len(set(names)) == len(names)
    assert set(solvers.published_rules()) <= set(solvers.default_solvers())
    chosen = {rule.name for rule in solvers.published_rules()}
    assert {"vispruner", "greedyprune", "mmtok", "otprune", "eadp", "holov", "hired"} <= chosen
    assert "hired_quotas" not in chosen
    for entry in solvers.RULES:
        merges, reads = entry.gives != "indices", {"keys", "hidden"} & set(entry.needs)
        assert not (entry.name in chosen and (merges or reads))


def test_a_problem_without_an_allowed_selection_is_a_row_with_the_reason():
    """In a ring of five tokens that conflict with their neighbours two can stay, a third cannot."""
    ring = np.eye(5) + 0.95 * (np.roll(np.eye(5), 1, axis=0) + np.roll(np.eye(5), -1, axis=0))
    problem = Problem.from_similarity(ring, 3, signals={"cls": np.ones(5)}, constraint=Conflict(0.9), id="ring")
    study = compare(problem, [Exact(), BruteForce(), TopK()], Saliency(), progress=False)
    assert study.frame["status"].tolist() == ["no_selection", "no_selection", "unsupported"]
    assert study.frame["value"].isna().all()
    reasons = study.frame["reason"].tolist()
    assert reasons[0] == "no selection of 3 tokens of ring keeps Conflict(threshold=0.9) (proven)"
    assert reasons[1].startswith("no selection of ring keeps Conflict(threshold=0.9)")
    assert "allows no other" in reasons[2]
