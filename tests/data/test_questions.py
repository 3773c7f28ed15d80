"""Questions: every answer is checked against the scene by a reader written independently of the asker."""

from collections import Counter

import numpy as np
import pytest

from data.make.batches import QUESTION_LENGTH, encode
from data.make.benchmark import needed_tokens
from data.make.questions import ask
from data.make.scene import PATCH, render
from data.make.vocabulary import COLOR_NAMES, SHAPES, TASKS, TOKEN


def answer_by_reading(scene, text):
    """The answer a person would give who knows what is in the scene."""
    words = text.split()
    objects = [(COLOR_NAMES[i.color], SHAPES[i.shape], i) for i in scene.of("object")]

    def find(color, shape):
        return [item for c, s, item in objects if c == color and s == shape]

    if words[0] == "is" and words[1] == "there":
        return "yes" if find(words[3], words[4]) else "no"
    if words[:2] == ["is", "the"]:
        (first,), (second,) = find(words[2], words[3]), find(words[-3], words[-2])
        holds = {
            "left": first.x < second.x,
            "right": first.x > second.x,
            "above": first.y < second.y,
            "below": first.y > second.y,
        }
        return "yes" if holds[words[4]] else "no"
    if words[:2] == ["how", "many"]:
        color = words[2] if words[2] in COLOR_NAMES else None
        noun = words[3] if color else words[2]
        shape = None if noun == "objects" else noun[:-1]
        return str(sum((color in (None, c)) and (shape in (None, s)) for c, s, _ in objects))
    if words[:2] == ["what", "number"]:
        (sign,) = [i for i in scene.of("sign") if COLOR_NAMES[i.color] == words[5]]
        return " ".join(map(str, sign.digits))
    if words[4] == "tiny":
        (tiny,) = [i for i in scene.of("tiny") if SHAPES[i.shape] == words[5]]
        return COLOR_NAMES[tiny.color]
    if words[1] == "color":
        return COLOR_NAMES[next(i for _, s, i in objects if s == words[4]).color]
    return SHAPES[next(i for c, _, i in objects if c == words[4]).shape]


@pytest.fixture(scope="module")
def asked():
    rng = np.random.default_rng(11)
    scenes = [render(rng) for _ in range(80)]
    return [(scene, question) for scene in scenes for question in ask(scene, rng)]


def test_answers_are_true(asked):
    for scene, question in asked:
        assert question.answer == answer_by_reading(scene, question.text), question.text


def test_all_tasks_occur_and_words_are_known(asked):
    assert {question.task for _, question in asked} == set(TASKS)
    for _, question in asked:
        assert all(word in TOKEN for word in (*question.text.split(), *question.answer.split()))


def test_yes_and_no_are_balanced(asked):
    answers = Counter(question.answer for _, question in asked if question.answer in ("yes", "no"))
    assert 0.42 < answers["yes"] / answers.total() < 0.58


def test_names_point_at_the_word_that_completes_the_reference(asked):
    for _, question in asked:
        words = question.text.split()
        for position, item in question.names.items():
            completing = words[position]
            assert completing in {"object", "sign"} or completing == SHAPES[item.shape]


def test_needed_tokens_hold_the_evidence(asked):
    for scene, question in asked:
        needed = needed_tokens(scene, question)
        assert needed == sorted(set(needed))
        if question.task in ("attribute", "text", "tiny", "spatial"):
            assert needed
        if question.task.startswith("exist") and question.answer == "no":
            assert not needed


def test_where_counts_from_the_full_grid():
    rng = np.random.default_rng(0)
    scene = render(rng, 10, 10)
    for question in ask(scene, rng, offset=(12, 3), where=4):
        if question.task == "where":
            (item,) = question.evidence
            row, col = int(item.y // PATCH + 12) // 3, int(item.x // PATCH + 3) // 3
            assert question.answer == f"{row} {col}"


def test_encoded_targets_are_the_answer_only(asked):
    for _, question in asked[:200]:
        words, targets = encode(question)
        assert len(words) == len(targets) <= QUESTION_LENGTH
        answer = [t for t in targets if t != -100]
        assert answer == [TOKEN[w] for w in (*question.answer.split(), "</s>")]
