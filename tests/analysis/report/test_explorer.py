"""What the explorer's scripts are given says the same as what went in, and what makes no sense is refused."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from analysis.report import ExplorerImage, Reply, ReportInput
from analysis.report.explorer import explorer_data

Build = Callable[..., ReportInput]


@pytest.fixture
def image(report_input: Build) -> ExplorerImage:
    """Two choices of 4 of 16 tokens for one question."""
    return report_input().explorer[0]


def changed(image: ExplorerImage, **changes: Any) -> ExplorerImage:
    return dataclasses.replace(image, questions=[dataclasses.replace(image.questions[0], **changes)])


def members(data: dict[str, Any], number: int) -> list[int]:
    field = base64.b64decode(data["sets"][number])
    return [token for token in range(8 * len(field)) if field[token // 8] >> token % 8 & 1]


def test_choices_and_replies(image: ExplorerImage) -> None:
    data = explorer_data([image])
    question = data["images"][0]["questions"][0]
    choices = {(name, keep): (members(data, number), *rest) for name, keep, number, *rest in question["choices"]}
    assert choices == {
        ("VisPruner", 4): ([0, 1, 5, 15], ("yes", True), []),
        ("random", 4): ([2, 3, 4, 9], None, []),
    }
    assert members(data, question["needed"]) == [5]
    assert members(data, data["images"][0]["all"]) == list(range(16))
    assert question["full"] == ("yes", True)
    assert data["keeps"] == [4]
    assert [pruner["label"] for pruner in data["pruners"]] == ["VisPruner", "Random", "Full model"]


def test_a_frames_own_truth_becomes_plain(image: ExplorerImage) -> None:
    data = explorer_data([changed(image, replies={("VisPruner", 4): Reply("no", np.bool_(False))})])
    reply = data["images"][0]["questions"][0]["choices"][0][3]
    assert reply == ("no", False)
    assert type(reply[1]) is bool


def test_equal_sets_are_stored_once(image: ExplorerImage) -> None:
    many = dataclasses.replace(image, questions=[image.questions[0]] * 9)
    assert len(explorer_data([many])["sets"]) == 4


def test_stages_of_a_pruner_inside(image: ExplorerImage) -> None:
    data = explorer_data([changed(image, stages={("VisPruner", 4): {3: range(8), 5: [0, 1, 5, 15]}})])
    stages = data["images"][0]["questions"][0]["choices"][0][4]
    assert [(layer, members(data, number)) for layer, number in stages] == [(3, list(range(8))), (5, [0, 1, 5, 15])]


def test_attention_comes_back_within_half_a_step_of_its_root(image: ExplorerImage) -> None:
    weights = np.random.default_rng(0).dirichlet(np.full(16, 0.1))
    cls = np.zeros(16)
    given = dataclasses.replace(
        changed(image, attention={("text last token", 2): weights}), attention={("vision CLS", 1): cls}
    )
    data = explorer_data([given])
    assert data["places"] == [
        {"label": "Vision CLS", "layer": 1, "inside": False},
        {"label": "Text, last token", "layer": 2, "inside": True},
    ]
    ((place, number),) = data["images"][0]["questions"][0]["attention"]
    stored = data["maps"][number]
    roots = np.frombuffer(base64.b64decode(stored["roots"]), dtype=np.uint8) / 255
    assert place == 1
    assert stored["largest"] == pytest.approx(weights.max(), rel=1e-5)
    np.testing.assert_allclose(roots, np.sqrt(weights / weights.max()), atol=0.5 / 255 + 1e-12)
    nothing = data["maps"][data["images"][0]["attention"][0][1]]
    assert nothing["largest"] == 0
    assert base64.b64decode(nothing["roots"]) == bytes(16)


def test_one_place_is_one_number_for_all_images(image: ExplorerImage) -> None:
    given = changed(image, attention={("text last token", layer): np.ones(16) for layer in (1, 2)})
    data = explorer_data([given, given])
    assert len(data["places"]) == 2
    assert [[place for place, _ in entry["questions"][0]["attention"]] for entry in data["images"]] == [[0, 1]] * 2


def test_what_makes_no_sense_is_refused(image: ExplorerImage) -> None:
    with pytest.raises(ValueError, match="`questions` of 'image 7' must hold at least one question"):
        dataclasses.replace(image, questions=[])
    with pytest.raises(ValueError, match=r"tokens of 'image 7' must be in \[0, 3\], got 5"):
        dataclasses.replace(image, grid=(2, 2))
    with pytest.raises(ValueError, match=r"tokens of 'image 7' must be in \[0, 15\], got 16"):
        changed(image, stages={("VisPruner", 4): {3: [16]}})
    with pytest.raises(ValueError, match=r"`stages` of 'image 7' must be of choices in `kept`, got \('fastv', 4\)"):
        changed(image, stages={("fastv", 4): {3: [1]}})
    with pytest.raises(ValueError, match=r"'image 7', text, layer 1, must have shape \[16\], got \[4, 4\]"):
        changed(image, attention={("text", 1): np.ones((4, 4))})
    with pytest.raises(ValueError, match="must be finite and not negative, got nan"):
        dataclasses.replace(image, attention={("cls", 1): np.full(16, np.nan)})
    with pytest.raises(ValueError, match=r"must be finite and not negative, got -1\.0"):
        dataclasses.replace(image, attention={("cls", 1): np.full(16, -1.0)})
