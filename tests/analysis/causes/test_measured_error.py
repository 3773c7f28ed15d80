from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from analysis.causes import Exam, error_summary, measured_errors, output_error
from analysis.causes.measured_error import MEASURES
from analysis.pruning import pruner


def test_theory_is_what_the_layers_do_and_no_bound_is_crossed(exam: Exam) -> None:
    rows = measured_errors(exam, ("fastervlm", "random"), (8, 2))
    assert len(rows) == 6 * 3 * 2 * 2
    assert rows["deviation"].max() < 1e-4 * rows["measured"].max()
    assert rows["measured"].min() > 0
    assert (rows["violations"] == 0).all()
    for name in ("norm_tightness", "centred_tightness", "dropped_mass"):
        assert rows[name].between(0, 1).all()
    few, many = (rows[rows["keep"] == keep]["dropped_mass"].mean() for keep in (2, 8))
    assert few > many


def test_measured_by_hand_in_one_layer(
    exam: Exam, eager_layer: Callable[..., Any], layer_states: Callable[..., list[torch.Tensor]]
) -> None:
    rows = measured_errors(exam, ("random",), (5,), seed=7)
    kept = pruner("random").select(exam.encoded[0].__class__(**vars_of(exam, seed=7)), 5)
    inputs = exam.vlm.prepare(exam.samples[0].image, exam.samples[0].questions[2].question)
    hidden = layer_states(exam.vlm, inputs)[1]
    ids = torch.arange(len(hidden))
    without = [exam.start + token for token in range(exam.tokens) if token not in kept]
    full, reduced = (eager_layer(exam.vlm, 1, hidden, ids, drop)[1][-1] for drop in (None, without))
    error = (reduced - full).norm(dim=-1)
    row = rows[(rows["question_id"] == 2) & (rows["layer"] == 2)].iloc[0]
    assert row["measured"] == pytest.approx(float(error.mean()), rel=1e-3)
    assert row["relative_error"] == pytest.approx(float((error / full.norm(dim=-1)).mean()), rel=1e-3)


def vars_of(exam: Exam, *, seed: int) -> dict[str, Any]:
    tokens = exam.encoded[0]
    names = ("features", "projected", "grid", "cls", "key")
    return {name: getattr(tokens, name) for name in names} | {"seed": seed}


def test_values_are_those_of_the_layer(
    exam: Exam, eager_layer: Callable[..., Any], layer_states: Callable[..., list[torch.Tensor]]
) -> None:
    """Weights times values is the output, for the rows the theory is fed with."""
    replay = exam.asked(0).replay
    for layer in range(len(replay.layers)):
        weights = replay.call(layer).rows(torch.tensor([[exam.start + 2]]))[0, :, 0]
        expected = torch.einsum("hk,hkd->hd", weights, replay.values(layer)[0])
        torch.testing.assert_close(replay.outputs(layer)[0, exam.start + 2], expected, atol=1e-4, rtol=1e-4)


def test_the_first_layer_carries_no_error_beyond_its_own(exam: Exam) -> None:
    rows = measured_errors(exam, ("uniform_grid",), (4,))
    first = rows[rows["layer"] == 1]
    np.testing.assert_allclose(first["carried_error"], first["relative_error"], rtol=1e-3)
    assert not np.allclose(*(rows[rows["layer"] == 3][name] for name in ("carried_error", "relative_error")), rtol=1e-2)


def test_summary_has_every_measure_and_rank_correlations(exam: Exam) -> None:
    table = error_summary(measured_errors(exam, ("random",), (4,)), resamples=20)
    assert len(table) == 3 * (len(MEASURES) + 3)
    ranks = table[table["metric"].str.startswith("spearman")]
    assert ranks["estimate"].between(-1, 1).all()


def test_keeping_all_makes_no_error(exam: Exam) -> None:
    rows = measured_errors(exam, ("fastervlm",), (exam.tokens,))
    assert rows["measured"].max() < 1e-4
    assert (rows["dropped_mass"] == 0).all()
    assert output_error([1.0], [[2.0]], [True]).error == 0


def test_a_pruner_that_needs_the_question_is_refused(exam: Exam) -> None:
    with pytest.raises(ValueError, match="`pruners` must ignore the question, got 'oracle'"):
        measured_errors(exam, ("oracle",))
