"""The benchmark of `solvers` at tiny sizes and without peers: the shape of its table and the honesty of its columns."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from benchmarks import peers, torch_loops
from benchmarks.rows import Row, Target, agreement, compared, selections
from benchmarks.setting import Setting, total
from benchmarks.solvers import WORKS, measure, shown, shown_traffic, table
from benchmarks.timing import Timing, interleaved
from benchmarks.traffic import served_anew, traffic
from solvers import DppMap, FacilityLocation, FarthestFirst, Greedy, LogDet, MaxMin
from solvers.objectives.facility_location import coverage

TINY = Setting(samples=1, shrink=4, peers=False)
IN_PROCESS = ("facility-location", "dpp", "max-min", "features", "batch", "local-search", "gap", "log-det")


def timing(result: object, seconds: float = 1.0) -> Timing:
    return Timing(seconds, seconds, 1, result)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for section in measure(TINY, IN_PROCESS) for row in section]


def test_every_row_has_our_time_and_none_claims_a_peer(rows: list[Row]) -> None:
    assert [row for row in rows if row.verdict == "fails"] == []
    assert all(row.ours_cpu > 0 and row.ours_wall > 0 and row.ours_samples >= 1 for row in rows)
    compared_with = [row for row in rows if row.peer and not row.peer.startswith("torch")]
    assert compared_with
    assert all(row.verdict == "no peer" and math.isnan(row.peer_cpu) for row in compared_with)


def test_table_is_tidy_with_provenance(rows: list[Row]) -> None:
    frame = table(rows)
    assert len(frame) == len(rows)
    assert {"work", "ratio_cpu", "ratio_wall", "same_picks", "target", "verdict", "commit", "cpu", "threads"} <= {
        *frame.columns
    }
    assert not frame[["work", "ours", "commit", "numpy"]].isna().any().any()
    assert (frame["n"] >= frame["keep"]).all()
    assert shown(frame).row_count == len(rows)


def test_targets_are_not_judged_at_other_sizes(rows: list[Row]) -> None:
    assert {row.verdict for row in rows} <= {"", "no peer"}
    assert Setting().target("ratio", 30) == Target("ratio", 30)


def test_unknown_section_is_refused_with_the_nearest() -> None:
    with pytest.raises(KeyError, match="did you mean 'batch'"):
        next(measure(TINY, ["batsh"]))


def test_a_failing_section_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORKS, "dpp", lambda setting: 1 // 0)
    ((row,),) = measure(TINY, ["dpp"])
    assert (row.work, row.verdict) == ("dpp", "fails")
    assert "ZeroDivisionError" in row.note


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([[1, 2, 3]], [[1, 2, 3]], ("order", 1.0)),
        ([[1, 2, 3]], [[3, 1, 2]], ("set", 1.0)),
        ([[1, 2, 3]], [[1, 2, 4]], ("no", 2 / 3)),
        ([[1, 2], [3, 4]], [[1, 2], [4, 3]], ("set", 1.0)),
        ([[1, 2], [3, 4]], [[1, 2], [5, 6]], ("no", 0.5)),
        ([[1, 2]], [[1, 1]], ("no", 0.5)),
    ],
)
def test_agreement(ours: list[list[int]], theirs: list[list[int]], expected: tuple[str, float]) -> None:
    assert agreement(ours, theirs) == expected


def test_agreement_refuses_unequal_batches() -> None:
    with pytest.raises(ValueError, match="equally many images"):
        agreement([[1]], [[1], [2]])


def test_fast_but_different_picks_do_not_pass() -> None:
    problem = TINY.problem(64)
    value = total([problem], FacilityLocation())
    best = Greedy().solve(problem, FacilityLocation()).selected.tolist()
    worst = list(range(len(best)))
    row = Row("work", target=Target("ratio", 10))
    faster, slower = timing(best, 0.1), timing(best, 2.0)
    assert compared(row, faster, slower, value, same=True).verdict == "pass"
    assert compared(row, slower, faster, value, same=True).verdict == "below"
    assert compared(row, faster, timing(best[::-1], 2.0), value, same=True).same_picks == "set"
    assert compared(row, faster, timing(worst, 2.0), value, same=True).verdict == "picks differ"
    assert compared(row, timing(worst, 0.1), slower, value, at_least=True).verdict == "lower value"
    assert compared(row, faster, timing(worst, 2.0), value, at_least=True).verdict == "pass"


def test_different_picks_of_equal_value_are_a_tie() -> None:
    row = Row("work", target=Target("ratio", 10))
    tied = compared(row, timing([0], 0.1), timing([1], 2.0), lambda picked: 1.0, same=True)
    assert (tied.same_picks, tied.verdict) == ("no", "pass")


def test_values_come_from_the_objective_and_not_from_the_peer() -> None:
    problem, objective = TINY.problem(64), MaxMin()
    row = compared(Row("work"), timing([0, 1, 2]), timing([3, 4, 5]), total([problem], objective))
    assert row.ours_value == objective.value(problem, [0, 1, 2])
    assert row.peer_value == objective.value(problem, [3, 4, 5])


def test_a_missing_or_failing_peer_is_a_row() -> None:
    def missing() -> object:
        peers.load("no_such_module_at_all", "no-such-package")

    def refusing() -> object:
        return lambda: [][0]

    setting = Setting(samples=1, shrink=4)
    found = setting.against(
        Row("work"),
        lambda: [0],
        {"a": (missing, None), "b": (refusing, None)},
        None,  # type: ignore[dict-item]
    )
    assert [row.verdict for row in found] == ["no peer", "no peer"]
    assert "no-such-package is not installed" in found[0].note
    assert "IndexError" in found[1].note


def test_a_defect_of_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        TINY.against(Row("work"), lambda: 1 // 0, {}, None)


def test_calls_take_turns_after_one_untimed_and_five_sizing_calls() -> None:
    made: list[str] = []

    def quick(name: str) -> None:
        made.append(name)

    times = interleaved({"a": lambda: quick("a"), "b": lambda: quick("b")}, samples=3)
    assert made[:12] == ["a"] * 6 + ["b"] * 6
    assert [name for name, _ in itertools.groupby(made[12:])] == ["a", "b"] * 3
    assert all(isinstance(found, Timing) and found.samples == 3 for found in times.values())


def test_torch_loops_pick_as_the_solvers_do() -> None:
    problem = TINY.problem(64)
    k = problem.budget

    def batch(matrix: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.stack([matrix, matrix[::-1, ::-1]]).copy())

    for objective, solver, picked in (
        (FacilityLocation(), Greedy(), torch_loops.facility_location(batch(coverage(problem)), k)),
        (LogDet(), DppMap(), torch_loops.dpp_map(batch(LogDet().kernel(problem)), k)),
        (
            MaxMin(),
            FarthestFirst(first=0),
            torch_loops.max_min(batch(MaxMin().distances(problem)), torch.tensor([0, problem.tokens - 1]), k),
        ),
    ):
        expected = solver.solve(problem, objective).selected.tolist()
        one, other = picked.tolist()
        assert one == expected
        if not isinstance(objective, LogDet):  # its first pick is a tie of all tokens
            assert [problem.tokens - 1 - token for token in other] == expected


def test_traffic_counts_what_it_says() -> None:
    matrix = np.array([[4, 1, 0], [1, 4, 3], [0, 3, 4]], dtype=np.float32)
    # The first pick serves what it covers at all, tokens 1 and 2 at least 3; the second one improves tokens 0 and 1.
    assert served_anew(matrix, np.array([2, 0])) == 2 + 1
    assert served_anew(matrix, np.array([2, 1])) == 2 + 2
    found = traffic(TINY)
    assert [row.loop for row in found] == 2 * ["facility location greedy", "DPP MAP", "max-min greedy"]
    assert all(row.gbytes_per_s > 0 and row.limit_gbytes_per_s > 0 for row in found)
    assert all(row.fraction == row.gbytes_per_s / row.limit_gbytes_per_s for row in found)
    assert shown_traffic(found).row_count == 6


def test_selections_of_one_image_and_of_a_batch() -> None:
    assert selections([3, 1]) == [[3, 1]]
    assert selections(np.array([[3, 1], [0, 2]])) == [[3, 1], [0, 2]]
