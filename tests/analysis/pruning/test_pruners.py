"""Every pruner hands its rule what the rule is specified on, and keeps its promises."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import solvers
from analysis.pruning import PRUNERS, AbstractPruner, VisualTokens, pruner
from analysis.pruning.pruners import (
    CDPruner,
    FasterVLM,
    GreedyPrune,
    HiRED,
    Oracle,
    Random,
    SolverPruner,
    UniformGrid,
    VisPruner,
)
from solvers import rules

Make = Callable[..., VisualTokens]
FROM_ARRAYS = [entry for entry in PRUNERS if not (entry.inside or entry.in_encoder)]
every_pruner = pytest.mark.parametrize("entry", FROM_ARRAYS, ids=lambda entry: entry.name)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)


@every_pruner
@pytest.mark.parametrize("keep", [1, 2, 7, 12, 35, 36])
def test_kept_tokens_are_ascending_distinct_and_as_many_as_asked(
    visual_tokens: Make, entry: AbstractPruner, keep: int
) -> None:
    tokens = visual_tokens()
    kept = entry.select(tokens, keep)
    assert kept.dtype == np.int64
    assert (np.diff(kept) > 0).all()
    assert 0 <= kept[0] <= kept[-1] < 36
    if entry.name == "fopru_rows":
        assert len(kept) == max(1, round(keep / 6)) * 6
    elif entry.name == "pooling":
        assert len(kept) == int(keep**0.5) ** 2  # square, as the image
    else:
        assert len(kept) == keep
    np.testing.assert_array_equal(entry.select(visual_tokens(), keep), kept)


@every_pruner
def test_only_what_is_needed_is_read(visual_tokens: Make, entry: AbstractPruner) -> None:
    tokens, other = visual_tokens(0), visual_tokens(1)
    swapped = {
        name: getattr(other, name)
        for name in ("features", "projected", "cls", "attention_map", "text", "needed")
        if name not in entry.needs
    }
    np.testing.assert_array_equal(entry.select(visual_tokens(0, **swapped), 9), entry.select(tokens, 9))


@every_pruner
def test_missing_evidence_is_named(visual_tokens: Make, entry: AbstractPruner) -> None:
    bare = visual_tokens(attention_map=None, text=None, needed=None)
    lacking = entry.needs & {"attention_map", "text", "needed"}
    if not lacking:
        entry.select(bare, 5)
        return
    with pytest.raises(ValueError, match=rf"pruner '{entry.name}' needs `{'|'.join(lacking)}`"):
        entry.select(bare, 5)


@every_pruner
@pytest.mark.parametrize("keep", [0, 37, -1, 2.0, "9", None, True])
def test_wrong_budgets(visual_tokens: Make, entry: AbstractPruner, keep: object) -> None:
    with pytest.raises(ValueError, match=r"`keep` must be (an integer )?in \[1, 36\], got"):
        entry.select(visual_tokens(), keep)  # type: ignore[arg-type]


def test_rules_get_the_arrays_they_are_specified_on(visual_tokens: Make) -> None:
    tokens = visual_tokens()
    assert tokens.attention_map is not None
    assert tokens.text is not None
    cosine = unit(tokens.projected) @ unit(tokens.text).T
    words = unit(tokens.text) @ unit(tokens.projected).T
    expected = {
        "scope": rules.scope(tokens.features, tokens.cls, 12),
        "mmtok": rules.mmtok(tokens.projected, tokens.text, 12),
        "otprune": rules.otprune(tokens.projected, 12),
        "eadp": rules.eadp(tokens.projected, rules.eadp_scores(words.mean(0), words, (6, 6)), 12, normalise=False),
        "holov": rules.holov(tokens.projected, tokens.cls, 12),
        "hired": rules.hired(tokens.cls, 12),
        "vispruner": rules.vispruner(tokens.features, tokens.cls, 12, 0.5),
        "fastervlm": rules.fastervlm(tokens.cls, 12),
        "fopru_rank": rules.fopru_rank(tokens.attention_map, 12),
        "fopru_rows": rules.fopru_rows(tokens.attention_map, 12, (6, 6)),
        "greedyprune": rules.greedyprune(tokens.projected, tokens.text.mean(0), 12, 0.9, "fill"),
        "divprune": rules.divprune(tokens.projected, 12),
        "cdpruner": rules.cdpruner(tokens.projected, cosine.mean(1), 12),
    }
    for name, kept in expected.items():
        np.testing.assert_array_equal(pruner(name).select(tokens, 12), kept, err_msg=name)
    before = {rule.name for rule in rules.RULES if rule.where == "before LM" and rule.gives == "indices"}
    assert expected.keys() == before | {"greedyprune"}


def test_parameters_reach_the_rule(visual_tokens: Make) -> None:
    tokens = visual_tokens()
    assert tokens.text is not None
    np.testing.assert_array_equal(VisPruner(1.0).select(tokens, 12), FasterVLM().select(tokens, 12))
    stopped = GreedyPrune(threshold=0.0, when_exhausted="stop").select(tokens, 20)
    expected = rules.greedyprune(tokens.projected, tokens.text.mean(0), 20, 0.0, "stop")
    assert len(stopped) < 20
    np.testing.assert_array_equal(stopped, expected)


def test_question_aware_pruners_follow_the_question(visual_tokens: Make) -> None:
    tokens = visual_tokens()
    other = tokens.asked(visual_tokens(5).text).with_needed([20, 21])
    for entry in FROM_ARRAYS:
        same = np.array_equal(entry.select(tokens, 9), entry.select(other, 9))
        assert same != entry.question_aware, entry.name


@every_pruner
def test_what_budgets_and_questions_share_changes_nothing(visual_tokens: Make, entry: AbstractPruner) -> None:
    used = visual_tokens(0, text=None, needed=None)
    for seed, needed in enumerate(([3, 4, 5], [20, 21])):
        question = visual_tokens(seed).text
        for keep in (20, 7, 12):
            shared = entry.select(used.asked(question).with_needed(needed).seeded(seed), keep)
            fresh = entry.select(visual_tokens(0, text=question, needed=np.array(needed), seed=seed), keep)
            np.testing.assert_array_equal(shared, fresh)


def test_random_depends_on_image_and_seed_only(visual_tokens: Make) -> None:
    tokens = visual_tokens()
    kept = Random().select(tokens, 9)
    np.testing.assert_array_equal(Random().select(visual_tokens(0, cls=visual_tokens(1).cls), 9), kept)
    assert not np.array_equal(Random().select(visual_tokens(0, seed=1), 9), kept)
    assert not np.array_equal(Random().select(visual_tokens(0, key="another"), 9), kept)
    assert set(kept) < set(Random().select(tokens, 20))


def test_random_is_uniform(visual_tokens: Make) -> None:
    hits = np.zeros(36)
    for seed in range(400):
        hits[Random().select(visual_tokens(0, seed=seed), 9)] += 1
    # 400 draws of probability 1/4: five standard deviations are 43
    assert np.abs(hits - 100).max() < 43


def test_uniform_grid_spreads(visual_tokens: Make) -> None:
    kept = UniformGrid().select(visual_tokens(), 9)
    assert {(int(token) // 6, int(token) % 6) for token in kept} == {(r, c) for r in (1, 3, 5) for c in (1, 3, 5)}


def test_oracle_takes_what_is_needed_first(visual_tokens: Make) -> None:
    tokens = visual_tokens(needed=np.array([30, 2, 17]))
    for keep in range(3, 37):
        assert {2, 17, 30} <= set(Oracle().select(tokens, keep).tolist())


def test_oracle_fills_farthest_first(visual_tokens: Make) -> None:
    tokens = visual_tokens(needed=np.array([30, 2, 17]))
    cosine = unit(tokens.projected) @ unit(tokens.projected).T
    chosen = [2, 17, 30]
    for keep in range(4, 9):
        left = [token for token in range(36) if token not in chosen]
        chosen.append(min(left, key=lambda token: cosine[token, chosen].max()))
        assert Oracle().select(tokens, keep).tolist() == sorted(chosen)


def test_oracle_stays_among_the_needed_if_they_do_not_fit(visual_tokens: Make) -> None:
    needed = np.array([1, 4, 9, 16, 25, 30])
    tokens = visual_tokens(needed=needed)
    kept = Oracle().select(tokens, 3)
    assert set(kept) < set(needed)
    assert needed[np.argmax(tokens.cls[needed])] in kept


def test_oracle_with_nothing_needed(visual_tokens: Make) -> None:
    kept = Oracle().select(visual_tokens(needed=np.array([], dtype=int)), 4)
    assert len(kept) == 4
    assert np.argmax(visual_tokens().cls) in kept


def test_solver_pruner_equals_the_solver(visual_tokens: Make) -> None:
    tokens = visual_tokens()
    problem = solvers.Problem.from_features(tokens.projected, 7)
    solution = solvers.Greedy().solve(problem, solvers.FacilityLocation())
    entry = SolverPruner(solvers.Greedy(), solvers.FacilityLocation())
    np.testing.assert_array_equal(entry.select(tokens, 7), np.sort(solution.selected))


def test_solver_pruner_on_encoder_features(visual_tokens: Make) -> None:
    tokens = visual_tokens()
    entry = SolverPruner(solvers.Greedy(), solvers.MaxMin(), space="features")
    solution = solvers.Greedy().solve(solvers.Problem.from_features(tokens.features, 7), solvers.MaxMin())
    assert entry.needs == {"features", "grid"}
    np.testing.assert_array_equal(entry.select(tokens, 7), np.sort(solution.selected))


@pytest.mark.parametrize(
    ("signal", "aware", "needs"),
    [
        ("cls", False, {"projected", "grid", "cls"}),
        ("relevance", True, {"projected", "grid", "text"}),
        ("attention_map", False, {"projected", "grid", "attention_map"}),
    ],
)
def test_solver_pruner_passes_signals(visual_tokens: Make, signal: str, aware: bool, needs: set[str]) -> None:
    tokens = visual_tokens()
    entry = SolverPruner(solvers.TopK(signal), solvers.Saliency(signal), signal=signal)
    assert (entry.question_aware, entry.needs) == (aware, needs)
    assert signal in entry.problem(tokens, 5).signals
    if signal == "cls":
        np.testing.assert_array_equal(entry.select(tokens, 5), FasterVLM().select(tokens, 5))
    if signal == "relevance":
        assert tokens.text is not None
        score = (unit(tokens.projected) @ unit(tokens.text).T).mean(1)
        np.testing.assert_array_equal(entry.select(tokens, 5), np.sort(np.argsort(-score, kind="stable")[:5]))


def test_solver_pruner_with_chance_draws_per_image(visual_tokens: Make) -> None:
    entry = SolverPruner(solvers.Random(), solvers.FacilityLocation())
    kept = entry.select(visual_tokens(0), 5)
    np.testing.assert_array_equal(entry.select(visual_tokens(0), 5), kept)
    assert not np.array_equal(entry.select(visual_tokens(0, key="another"), 5), kept)


def test_cdpruner_is_not_negated(visual_tokens: Make) -> None:
    tokens = visual_tokens()
    towards = tokens.asked(10 * tokens.projected[[12]])
    assert 12 in CDPruner().select(towards, 1)


def test_names_are_distinct_and_cited() -> None:
    assert len({entry.name for entry in PRUNERS}) == len(PRUNERS)
    assert all(entry.cite for entry in PRUNERS)
    assert all(pruner(entry.name) is entry for entry in PRUNERS)


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(KeyError, match=r"unknown pruner 'visprunner'; did you mean 'vispruner'\?"):
        pruner("visprunner")
    with pytest.raises(KeyError, match=r"unknown signal 'relevence'; did you mean 'relevance'\?"):
        SolverPruner(signal="relevence")
    with pytest.raises(KeyError, match=r"unknown space 'feature'; did you mean 'features'\?"):
        SolverPruner(space="feature")


def test_a_defective_pruner_is_called_one(visual_tokens: Make) -> None:
    class Unsorted(Random):
        def _select(self, tokens: VisualTokens, keep: int) -> np.ndarray:
            return np.arange(keep)[::-1]

    with pytest.raises(RuntimeError, match="pruner 'random' must return ascending tokens below 36"):
        Unsorted().select(visual_tokens(), 3)


@pytest.mark.parametrize(
    "result", [np.array([0.5, 1.5]), np.arange(36) < 3, np.zeros((2, 2), dtype=int), np.array([], dtype=int)]
)
def test_what_is_no_list_of_indices_is_refused(visual_tokens: Make, result: np.ndarray) -> None:
    class Odd(Random):
        def _select(self, tokens: VisualTokens, keep: int) -> np.ndarray:
            return result

    with pytest.raises(RuntimeError, match=r"pruner 'random' must return indices \(integers\), got"):
        Odd().select(visual_tokens(), 3)


def test_unknown_evidence_suggests_the_nearest(visual_tokens: Make) -> None:
    class Misspelt(Random):
        needs = frozenset({"feature"})

    with pytest.raises(KeyError, match=r"unknown evidence 'feature'; did you mean 'features'\?"):
        Misspelt().select(visual_tokens(), 3)


def test_solver_pruners_are_named_by_what_differs() -> None:
    assert SolverPruner(time_limit=2.0).name == "Greedy+FacilityLocation[time_limit=2]"
    entry = SolverPruner(solvers.TopK("cls"), solvers.Saliency("cls"), signal="cls", space="features")
    assert entry.name.endswith("[cls, features]")


def test_hired_knows_of_crops_that_are_gone(visual_tokens: Make) -> None:
    """The middle one of three crops below each other is all that unpadding has left."""
    whole = visual_tokens(0, (6, 6), needed=None, first_cls=np.eye(36)[14] + np.linspace(0.1, 0.2, 36))
    left = visual_tokens(1, (2, 6), needed=None, at=(1, 0), crops=(3, 1))
    assert HiRED(alpha=0.5).quotas([whole, left], 20) == [10, 10]
    assert HiRED(alpha=0.9).quotas([whole, left], 20) == [18, 2]
    assert HiRED(alpha=0.1).quotas([whole, left], 20) == [8, 12]  # all that it holds
