from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from analysis.causes import Exam, rope_rows, rope_summary
from analysis.causes.rope_bias import rope_base
from analysis.evaluation.tasks import Sample
from analysis.models import Vlm


def without_patch_positions(vlm: Vlm, image: Image.Image, task: Any, questions: Any) -> Any:
    """Rows of one image whose visual tokens are all alike."""
    tower: Any = vlm.adapter.vision_tower(vlm.model)
    table = tower.embeddings.position_embedding.weight
    saved = table.detach().clone()
    try:
        with torch.no_grad():
            table[1:] = table[1]
        return rope_rows(Exam(vlm, task, [Sample(0, image, questions)]))
    finally:
        with torch.no_grad():
            table.copy_(saved)


def test_prediction_from_means_is_exact_where_content_knows_no_position(exam: Exam) -> None:
    """One colour, no patch positions: in the first layer all keys are equal, so their mean says everything."""
    red = Image.new("RGB", (24, 24), "red")
    rows = without_patch_positions(exam.vlm, red, exam.task, exam.samples[0].questions)
    first = rows[rows["layer"] == 1]
    assert first["score"].std() > 1e-3
    np.testing.assert_allclose(first["response"], first["score"], atol=1e-4)
    summary = rope_summary(first.assign(image_id=0).pipe(doubled), resamples=20)
    explained = summary[summary["metric"] == "explained response"]["estimate"]
    np.testing.assert_allclose(explained, 1, atol=1e-4)


def doubled(rows: Any) -> Any:
    """The same image twice, as an interval needs two."""
    return pd.concat([rows, rows.assign(image_id=1)], ignore_index=True)


def test_scores_are_logarithms_of_the_weights(
    exam: Exam, eager_layer: Callable[..., Any], layer_states: Callable[..., list[torch.Tensor]]
) -> None:
    rows = rope_rows(exam)
    side = exam.encoded[0].grid[0]
    expected = []
    for question in exam.samples[0].questions:
        hidden = layer_states(exam.vlm, exam.vlm.prepare(exam.samples[0].image, question.question))[1]
        weights, _ = eager_layer(exam.vlm, 1, hidden, torch.arange(len(hidden)))
        logs = weights[:, -1, exam.start : exam.start + exam.tokens].log().double().numpy()
        expected.append((logs - logs.mean(-1, keepdims=True)).reshape(-1, side, side).mean(-1))
    found = rows[(rows["image_id"] == 0) & (rows["layer"] == 2)].sort_values(["head", "grid_row"])["score"]
    np.testing.assert_allclose(found.to_numpy().reshape(-1, side), np.mean(expected, 0), atol=1e-3)


def test_curves_are_centred_and_summarised(exam: Exam) -> None:
    rows = rope_rows(exam)
    for name in ("score", "response", "isotropic"):
        sums = rows.groupby(["image_id", "layer", "head"])[name].sum()
        np.testing.assert_allclose(sums, 0, atol=1e-6)
    assert (rows.groupby(["image_id", "layer", "head"])["distance"].diff().dropna() < 0).sum() > 0
    table = rope_summary(rows, resamples=20)
    numbers = table[table["grid_row"].isna()]
    assert set(numbers["metric"]) == {
        *(f"slope {name}" for name in ("score", "response", "isotropic")),
        *(f"{what} {name}" for what in ("explained", "correlation") for name in ("response", "isotropic")),
    }
    assert (numbers[numbers["metric"].str.startswith("explained")]["estimate"] <= 1).all()
    assert numbers[numbers["metric"].str.startswith("correlation")]["estimate"].between(-1, 1).all()
    one = rows[(rows["layer"] == 1) & (rows["head"] == 1)].groupby("grid_row")[["distance", "score"]].mean()
    slope = 100 * np.polyfit(one["distance"], one["score"], 1)[0]
    found = numbers[(numbers["layer"] == 1) & (numbers["head"] == 1) & (numbers["metric"] == "slope score")]
    assert found["estimate"].item() == pytest.approx(slope, rel=1e-6)


def test_scaled_rotary_embedding_is_refused(tiny_vlm: Vlm) -> None:
    assert rope_base(tiny_vlm) == 10000
    settings = tiny_vlm.model.config.get_text_config().rope_parameters
    settings["rope_type"] = "linear"
    try:
        with pytest.raises(ValueError, match="plain rotary embedding"):
            rope_base(tiny_vlm)
    finally:
        settings["rope_type"] = "default"
