from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from analysis.capture import LastRow, record
from analysis.causes import Exam, position_rows, position_summary, usefulness_rows, usefulness_summary
from analysis.causes.tables import correlation, means, spearman_of
from analysis.causes.usefulness import PREDICTORS, exam_scores, top
from analysis.pruning import prune, pruner


def test_top_gives_ties_to_the_lowest_index() -> None:
    assert top(np.array([0.0, 2.0, 1.0, 1.0, 2.0]), 3).tolist() == [1, 2, 4]


def test_scores_are_the_attention_rows_they_are_named_after(exam: Exam) -> None:
    scores = exam_scores(exam, 1, layers=(1,)).scores
    assert list(scores) == ["cls", "last_2", "text_2", "equi_2"]
    np.testing.assert_allclose(scores["cls"], np.repeat(exam.encoded[1].cls[None], 3, 0), rtol=1e-6)
    inputs = exam.vlm.prepare(exam.samples[1].image, exam.samples[1].questions[0].question)
    with torch.no_grad(), record(exam.vlm, last=LastRow(heads=False, layers=(1,))) as log:
        exam.vlm.model(**inputs)
    np.testing.assert_allclose(scores["last_2"][0], log.last[0, 0], atol=1e-5)


def test_answers_are_those_of_the_pruned_model(exam: Exam) -> None:
    rows = usefulness_rows(exam, keeps=(4,), layers=(0,), seed=3)
    assert list(rows["score"].unique()) == ["cls", "last_1", "text_1", "equi_1", "random", "oracle"]
    assert len(rows) == 6 * 6
    for score, name in (("cls", "fastervlm"), ("random", "random"), ("oracle", "oracle")):
        expected = []
        for sample in exam.samples:
            for question in sample.questions:
                with prune(exam.vlm, pruner(name), 4, position_ids="keep", seed=3, needed=[question.needed]):
                    expected.append(exam.vlm.answer(sample.image, question.question))
        assert rows[rows["score"] == score]["prediction"].tolist() == expected


def test_what_is_said_of_the_kept_tokens(exam: Exam) -> None:
    rows = usefulness_rows(exam, keeps=(exam.tokens, 3), layers=(0,))
    all_kept, few = (rows[rows["keep"] == keep] for keep in (exam.tokens, 3))
    for name in ("cls_mass", "last_mass", "coverage"):
        np.testing.assert_allclose(all_kept[name], 1)
        assert (few[name] < 1).all()
    np.testing.assert_allclose(all_kept["mean_index"], 0.5)
    assert (all_kept["needed_recall"].dropna() == 1).all()
    assert rows["needed_recall"].isna().sum() == len(rows) / 2
    oracle = few[few["score"] == "oracle"]
    assert (oracle["needed_recall"].dropna() == 1).all()
    cls = few[(few["score"] == "cls") & (few["question_id"] == 0)].iloc[0]
    best = np.sort(exam.encoded[0].cls)[::-1]
    assert cls["cls_mass"] == pytest.approx(float(best[:3].sum() / best.sum()), rel=1e-5)
    assert few[few["score"] == "random"]["gini"].isna().all()


def test_summary_of_usefulness(exam: Exam) -> None:
    rows = usefulness_rows(exam, keeps=(4,), layers=(0,))
    table = usefulness_summary(rows, resamples=20)
    assert set(table["quantity"]) == {"accuracy", "mean", "spearman"}
    accuracy = table[(table["quantity"] == "accuracy") & (table["score"] == "cls")].set_index("task")["estimate"]
    own = rows[rows["score"] == "cls"]
    assert accuracy["task 1"] == own[own["task"] == "task 1"]["correct"].mean()
    assert accuracy["mean"] == pytest.approx(own.groupby("task")["correct"].mean().mean())
    ranks = table[table["quantity"] == "spearman"]
    assert "all" in set(ranks["score"])
    assert set(ranks["metric"]) <= set(PREDICTORS)
    assert ranks["estimate"].between(-1, 1).all()


def test_a_predictor_that_decides_is_found() -> None:
    """Accuracy that grows with recall: a correlation of 1 for recall, near 0 for a predictor of pure noise."""
    rng = np.random.default_rng(0)
    image = np.repeat(np.arange(40), 10)
    recall = np.repeat(np.arange(40) / 40, 10)
    rows = pd.DataFrame({name: rng.random(400) for name in PREDICTORS})
    rows = rows.assign(score="x", keep=8, image_id=image, question_id=np.arange(400), task="t", needed_recall=recall)
    rows["correct"] = np.tile(np.arange(10) / 10, 40) < recall
    table = usefulness_summary(rows, resamples=20)
    ranks = table[(table["quantity"] == "spearman") & (table["score"] == "x")].set_index("metric")
    assert ranks.loc["needed_recall", "low"] > 0.9
    assert ranks.loc["coverage", "low"] < 0 < ranks.loc["coverage", "high"]


def test_rank_correlation_is_that_of_scipy_and_flat_columns_give_none() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 5, 50).astype(float), rng.integers(0, 5, 50).astype(float)
    assert spearman_of(one, other) == pytest.approx(float(spearmanr(one, other).statistic))
    assert spearman_of(one, np.ones(50)) == 0
    found = correlation(one, other, np.repeat(np.arange(10), 5), resamples=100)
    assert found["low"] <= found["estimate"] <= found["high"]


def test_means_leave_out_what_is_unknown() -> None:
    rows = pd.DataFrame({"kind": ["a"] * 4, "image_id": [0, 0, 1, 2], "x": [1.0, 3.0, 5.0, np.nan], "y": np.nan})
    table = means(rows, ["kind"], ["x", "y"])
    assert table["metric"].tolist() == ["x"]
    assert (table["estimate"].item(), table["images"].item()) == (3.0, 2)


def test_position_rows_at_true_ids_are_in_agreement_with_themselves(exam: Exam) -> None:
    table = position_summary(position_rows(exam, ("true", "reversed"), seed=1)).set_index(
        ["kind", "arrangement", "layer", "metric"]
    )["estimate"]
    depth = len(exam.vlm.adapter.text_layers(exam.vlm.model))
    for layer in range(1, depth + 1):
        for kind in ("replay", "forward"):
            assert table[kind, "true", layer, "spearman_true"] == pytest.approx(1)
            assert table[kind, "true", layer, "jaccard_true"] == pytest.approx(1)
            quartiles = [table[kind, "reversed", layer, f"quartile_{q}"] for q in (1, 2, 3, 4)]
            assert sum(quartiles) == pytest.approx(1)
        assert table["replay", "true", layer, "slope"] == pytest.approx(table["forward", "true", layer, "slope"])
    # the first layer has seen nothing of the ids before: replay and full pass are the same
    assert table["replay", "reversed", 1, "slope"] == pytest.approx(table["forward", "reversed", 1, "slope"], rel=1e-3)
    assert table["replay", "reversed", depth, "spearman_true"] < 1
    accuracies = table.xs("answers", level="kind")
    expected = exam.answered().groupby("task")["correct"].mean().mean()
    assert accuracies["true", :, "accuracy mean"].item() == pytest.approx(expected)


def test_equal_seeds_give_equal_random_sets(exam: Exam) -> None:
    tokens = exam.encoded[0]
    one, other = (pruner("random").select(replace(tokens, seed=seed), 4) for seed in (0, 1))
    rows = [usefulness_rows(exam, keeps=(4,), layers=(0,), seed=seed) for seed in (0, 0, 1)]
    index = [frame[frame["score"] == "random"]["mean_index"].iloc[0] for frame in rows]
    assert index[0] == index[1] == pytest.approx(one.mean() / (len(tokens) - 1))
    assert index[2] == pytest.approx(other.mean() / (len(tokens) - 1))
