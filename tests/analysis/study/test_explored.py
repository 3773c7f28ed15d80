"""Pruners inside the language model in the explorer: watching changes nothing, and what is seen is what was left."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from analysis.capture import LastRow, record
from analysis.evaluation import MiniVqa
from analysis.models import load
from analysis.pruning import prune
from analysis.pruning.pruners import FastV, PyramidDrop, SparseVLM
from analysis.study import explored as module
from analysis.study.explored import explored, watching
from analysis.study.explorer import explorer_images
from analysis.study.run import EMBEDDED
from analysis.study.settings import FAST
from analysis.study.stages import explored_attention
from analysis.study.subject import Subject


@pytest.fixture(scope="module")
def vlm():
    return load(str(EMBEDDED))


@pytest.fixture(scope="module")
def sample():
    return next(iter(MiniVqa()))


def watched_run(vlm, pruner, keep, sample):
    watched = watching(vlm, pruner)
    with prune(vlm, watched, keep, position_ids="keep") as log:
        answer = vlm.answer(sample.image, sample.questions[0].question)
    return watched.left(), answer, log.visual_tokens[0].tolist()


@pytest.mark.parametrize("pruner", [FastV(), PyramidDrop(), SparseVLM()], ids=lambda pruner: pruner.name)
def test_watching_changes_neither_answer_nor_numbers(vlm, sample, pruner):
    left, answer, counts = watched_run(vlm, pruner, 32, sample)
    with prune(vlm, pruner, 32, position_ids="keep") as log:
        assert vlm.answer(sample.image, sample.questions[0].question) == answer
    assert log.visual_tokens[0].tolist() == counts
    assert min(left) > 1
    if not isinstance(pruner, SparseVLM):
        assert [len(tokens) for tokens in left.values()] == [counts[layer - 1] for layer in left]


def test_fastv_leaves_what_the_layer_before_attends_to_most(vlm, sample):
    left, _, _ = watched_run(vlm, FastV(), 64, sample)
    with record(vlm, last=LastRow(heads=False)) as log:
        vlm.answer(sample.image, sample.questions[0].question)
    attention = log.last[0, 1].numpy()
    assert left == {3: np.sort(np.argsort(-attention, kind="stable")[:64]).tolist()}


def test_stages_are_nested_and_name_tokens_of_the_picture(vlm, sample):
    left, _, counts = watched_run(vlm, PyramidDrop(), 32, sample)
    assert len(left) > 1
    stages = [set(tokens) for tokens in left.values()]
    assert all(later < earlier for earlier, later in pairwise(stages))
    assert len(stages[-1]) == counts[-1] == 32
    assert stages[0] < set(range(576))


def test_tokens_that_stand_for_several_are_not_named(vlm, sample):
    left, _, counts = watched_run(vlm, SparseVLM(), 64, sample)
    assert any(len(tokens) < counts[layer - 1] for layer, tokens in left.items())
    assert all(sorted(set(tokens)) == tokens and tokens[0] >= 0 for tokens in left.values())


@pytest.fixture(scope="module")
def subject(vlm, tmp_path_factory):
    settings = replace(FAST.with_images(1), keeps=(64,))
    return Subject(vlm, MiniVqa(), settings, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def rows(subject):
    return explored(subject)


def test_a_row_per_question_and_pruner(rows, sample):
    assert set(rows["pruner"]) == {"fastv", "pyramiddrop"}
    assert not rows.duplicated(["pruner", "keep", "question_id"]).any()
    assert len(rows) == 2 * len(sample.questions)
    assert (rows["correct"] == (rows["prediction"] == [q.answer for q in sample.questions] * 2)).all()


def test_what_is_done_is_not_done_again(subject, rows, monkeypatch):
    def refuse(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(module, "_answered", refuse)
    pd.testing.assert_frame_equal(explored(subject), rows)


def test_a_model_with_visual_tokens_beside_the_prompt_has_no_rows(subject, monkeypatch):
    monkeypatch.setattr(type(subject), "explored", ())
    assert explored(subject).empty


def test_the_explorer_is_told_all_of_it(subject, rows, sample, vlm):
    one = sample.questions[0]
    accuracy = pd.DataFrame(
        [("none", 576, "everything", True), ("vispruner", 64, "something", False)],
        columns=["pruner", "keep", "prediction", "correct"],
    ).assign(question_id=one.question_id)
    (image,) = explorer_images(subject, accuracy, rows, explored_attention(subject))
    assert len(image.questions) == len(sample.questions)
    shown = image.questions[0]
    own = rows[rows["question_id"] == one.question_id].set_index("pruner")
    assert shown.replies["none", 576] == ("everything", True)
    assert shown.replies["vispruner", 64] == ("something", False)
    assert shown.replies["fastv", 64] == (own.loc["fastv", "prediction"], own.loc["fastv", "correct"])
    assert list(shown.kept["fastv", 64]) == list(shown.stages["fastv", 64][3])
    assert {pruner for pruner, _ in shown.kept} == {p.name for p in (*subject.pruners, *subject.explored)}
    with record(vlm, last=LastRow(heads=False)) as log:
        vlm.answer(sample.image, one.question)
    for layer in range(6):
        expected = log.last[0, layer].numpy()
        np.testing.assert_allclose(shown.attention["text last token", layer + 1], expected, atol=1e-6)
    assert sorted(image.attention) == [("vision CLS", layer) for layer in (1, 2, 3, 4, 5)]
