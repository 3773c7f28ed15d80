from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BatchFeature

from analysis.causes import Exam, keep_from_layer, quartile, quartile_answers, replayable
from analysis.causes.replay import without_keys
from analysis.causes.tables import accuracy_by
from analysis.models import Vlm
from analysis.pruning import AbstractPruner, VisualTokens, prune


class Fixed(AbstractPruner):
    """Keeps the tokens it was made with."""

    name = "fixed"
    needs = frozenset({"grid"})
    cite = "test"
    kept: np.ndarray = np.array([0])

    def _select(self, tokens: VisualTokens, keep: int) -> np.ndarray:
        return self.kept


def fixed(kept: list[int]) -> Fixed:
    pruner = Fixed()
    object.__setattr__(pruner, "kept", np.array(kept))
    return pruner


@torch.no_grad()
def logits_removed_at(vlm: Vlm, inputs: BatchFeature, states: list[torch.Tensor], kept: list[int], layer: int):
    """Logits of one prompt where the tokens leave the sequence before `layer`: the layers run on what is left."""
    language = vlm.adapter.language_model(vlm.model)
    row = inputs["input_ids"][0].tolist()
    start, n = row.index(3), vlm.adapter.tokens(vlm.model)
    columns = [c for c in range(len(row)) if not start <= c < start + n or c - start in kept]
    hidden, ids = states[layer][columns][None], torch.tensor([columns])
    angles = language.rotary_emb(hidden, position_ids=ids)
    order = torch.arange(len(columns))
    mask = torch.zeros(1, 1, len(columns), len(columns)).masked_fill(order[:, None] < order, -1e30)
    for block in language.layers[layer:]:
        hidden = block(hidden, attention_mask=mask, position_ids=ids, position_embeddings=angles, use_cache=False)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
    return vlm.model.lm_head(language.norm(hidden))[0], columns


def test_quartiles_are_contiguous_and_cover_all() -> None:
    parts = [quartile(number, 576) for number in range(1, 5)]
    assert [len(part) for part in parts] == [144] * 4
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(576))
    assert [len(quartile(number, 10)) for number in range(1, 5)] == [3, 3, 2, 2]
    for number in (0, 5):
        with pytest.raises(ValueError, match=rf"`number` must be in \[1, 4\], got {number}"):
            quartile(number, 576)
    with pytest.raises(ValueError, match="`tokens` must be at least 4, got 3"):
        quartile(1, 3)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_hiding_equals_removing_before_that_layer(
    causes_vlm: Vlm,
    tiny_image: Callable[[int], Image.Image],
    layer_states: Callable[..., list[torch.Tensor]],
    layer: int,
) -> None:
    inputs, kept = causes_vlm.prepare(tiny_image(0), "what color is the circle ?"), [2, 3, 9]
    expected, columns = logits_removed_at(causes_vlm, inputs, layer_states(causes_vlm, inputs), kept, layer)
    with torch.no_grad(), keep_from_layer(causes_vlm, kept, layer):
        found = causes_vlm.model(**inputs).logits[0, columns]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_layer_zero_equals_pruning_with_left_padding_and_cache(causes_vlm: Vlm, prompts: BatchFeature) -> None:
    kept = [0, 5, 7, 12]
    options = {"max_new_tokens": 4, "do_sample": False}
    with prune(causes_vlm, fixed(kept), 4, position_ids="keep"), torch.no_grad():
        expected = causes_vlm.model.generate(**prompts, **options)
        logits = causes_vlm.model(**prompts).logits[:, -1]
    with keep_from_layer(causes_vlm, kept, 0), torch.no_grad():
        assert torch.equal(causes_vlm.model.generate(**prompts, **options), expected)
        torch.testing.assert_close(causes_vlm.model(**prompts).logits[:, -1], logits, atol=1e-4, rtol=1e-4)


def test_no_layer_or_no_token_changes_nothing(causes_vlm: Vlm, prompts: BatchFeature) -> None:
    n, depth = causes_vlm.adapter.tokens(causes_vlm.model), len(causes_vlm.adapter.text_layers(causes_vlm.model))
    with torch.no_grad():
        logits = causes_vlm.model(**prompts).logits[:, -1]
        with keep_from_layer(causes_vlm, [0], depth):
            assert torch.equal(causes_vlm.model(**prompts).logits[:, -1], logits)
        with keep_from_layer(causes_vlm, range(n), 0):
            torch.testing.assert_close(causes_vlm.model(**prompts).logits[:, -1], logits, atol=1e-4, rtol=1e-4)
        assert torch.equal(causes_vlm.model(**prompts).logits[:, -1], logits)


def test_eager_attention_agrees(causes_vlm: Vlm, prompts: BatchFeature) -> None:
    found = []
    for implementation in ("sdpa", "eager"):
        causes_vlm.model.set_attn_implementation(implementation)
        try:
            with torch.no_grad(), keep_from_layer(causes_vlm, [1, 2], 1):
                found.append(causes_vlm.model(**prompts).logits[:, -1])
        finally:
            causes_vlm.model.set_attn_implementation("sdpa")
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)


def test_every_layer_and_quartile_is_answered(exam: Exam) -> None:
    rows = quartile_answers(exam)
    depth = len(exam.vlm.adapter.text_layers(exam.vlm.model))
    cells = rows.groupby(["layer", "quartile"]).size()
    assert list(cells.index) == [(k, q) for k in range(depth) for q in (1, 2, 3, 4)] + [(depth, 0)]
    assert (cells == 6).all()
    asked = [(image, number) for image in range(2) for number in range(3)]
    pruned = exam.answered(dict.fromkeys(asked, quartile(3, exam.tokens)))
    masked = rows[(rows["layer"] == 0) & (rows["quartile"] == 3)]
    assert masked["prediction"].tolist() == pruned["prediction"].tolist()
    assert rows[rows["layer"] == depth]["prediction"].tolist() == exam.answered()["prediction"].tolist()


def test_accuracy_is_the_mean_of_tasks_whatever_their_sizes(exam: Exam) -> None:
    rows = exam.answered(setting="all").assign(correct=[True, False, True, True, False, False])
    rows["task"] = ["a", "a", "a", "a", "a", "b"]
    table = accuracy_by(rows, ["setting"]).set_index("task")
    assert table["estimate"].tolist() == pytest.approx([3 / 5, 0, 3 / 10])
    assert table["questions"].tolist() == [5, 1, 6]
    assert (table["low"].dropna() <= table["estimate"][table["low"].notna()]).all()


def test_masks_of_every_form_hide_the_same_keys() -> None:
    states, hidden = torch.zeros(1, 3, 2), torch.tensor([[False, True]])
    order = torch.arange(3)
    boolean = (order[:, None] >= order)[None, None]
    additive = torch.zeros(1, 1, 3, 3).masked_fill(~boolean, torch.finfo(torch.float32).min)
    visible = [without_keys(mask, states, hidden)[0, 0] == 0 for mask in (None, boolean, additive)]
    for found in visible:
        assert found.tolist() == [[True, False, False], [True, False, False], [True, False, True]]
    decoding = without_keys(None, states[:, :1], hidden, past=4)
    assert (decoding[0, 0, 0] == 0).tolist() == [True, False, True, True, True]
    with pytest.raises(ValueError, match="sdpa or eager attention only"):
        without_keys(torch.ones(1, 3), states, hidden)


@pytest.mark.parametrize(
    ("kept", "layer", "text"),
    [
        ([0], 4, r"`layer` must be in \[0, 3\], got 4"),
        ([0], -1, r"`layer` must be in \[0, 3\], got -1"),
        ([], 1, "`kept` must name at least one visual token"),
        ([36], 1, r"must lie in \[0, 35\]"),
    ],
)
def test_bad_input_is_refused(tiny_vlm: Vlm, kept: list[int], layer: int, text: str) -> None:
    with pytest.raises(ValueError, match=text), keep_from_layer(tiny_vlm, kept, layer):
        pass


def test_a_pass_can_be_replayed_after_the_context(causes_vlm: Vlm, prompts: BatchFeature) -> None:
    with replayable(causes_vlm) as replay, torch.no_grad():
        causes_vlm.model(**prompts)
    inside = replay.outputs(1)
    assert torch.equal(replay.outputs(1), inside)
    assert inside.shape[2:] == (4, 8)
