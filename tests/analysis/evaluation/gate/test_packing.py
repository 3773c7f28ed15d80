"""Both ways of answering are asked, the same questions, and what differs is counted."""

from __future__ import annotations

import pytest

from analysis import load
from analysis.evaluation import MiniVqa
from analysis.evaluation.answer import Answer
from analysis.evaluation.gate import measure_packed
from analysis.evaluation.packed import Packed
from analysis.study.run import EMBEDDED

from ..families import SeveralSizes, vlm_of


def test_what_differs_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    vlm, task = load(str(EMBEDDED)), MiniVqa(images=1)
    asked = len(next(iter(task)).questions[::3])
    found = measure_packed(vlm, task)
    assert found["pruner"].tolist() == ["none", "vispruner", "cdpruner", "visionzip"]
    assert found["keep"].tolist() == [576, 64, 64, 64]
    assert (found["questions"] == asked).all()
    assert (found["differ"] == 0).all()

    own = Packed.answers

    def one_wrong(packed: Packed, setting: object) -> list[Answer]:
        first, *others = own(packed, setting)  # type: ignore[arg-type]
        return [Answer("nonsense", first.by_layer, first.kept, first.n_text, 0.0), *others]

    monkeypatch.setattr(Packed, "answers", one_wrong)
    assert (measure_packed(vlm, task)["differ"] == 1).all()


def test_pictures_of_several_tiles_are_not_packed() -> None:
    assert measure_packed(vlm_of("llava_next"), SeveralSizes()).empty
