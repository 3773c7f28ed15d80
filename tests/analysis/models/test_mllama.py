"""The Mllama adapter against the stock model's own outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis.capture import LastRow, MeanReceived, record
from analysis.models import MllamaAdapter, adapter_for, wrap
from analysis.models.layout import Tile
from analysis.pruning import encode_images

from ..pruning import beside
from ..pruning.beside import PROMPTS, ROOM, STATES, WORD, pixels
from .processors import mllama


def test_parts() -> None:
    model = beside.model()
    adapter = adapter_for(model)
    assert isinstance(adapter, MllamaAdapter)
    assert adapter.cross_attention
    assert adapter.grid(model) == adapter.grid(model.base_model) == (4, 4)
    assert (len(adapter.vision_layers(model)), len(adapter.text_layers(model))) == (3, 5)
    assert adapter.vision_attention(adapter.vision_layers(model)[2]).q_proj.in_features == 32
    assert adapter.image_token_id(model) == WORD
    assert adapter.embedding(model) is model.get_input_embeddings()


def test_layouts() -> None:
    model = beside.model()
    inputs = pixels([PROMPTS[0], PROMPTS[1]])
    whole, wide, one = adapter_for(model).layouts(model, inputs)
    assert whole.tokens == wide.tokens == one.tokens == ROOM * STATES
    ats: list[list[tuple[int, int] | None]] = [[tile.at for tile in layout.tiles] for layout in (whole, wide, one)]
    assert ats == [[(0, 0), (0, 1), (1, 0), (1, 1)], [(0, 0), (0, 1)], [None]]
    shapes = [{tile.crops for tile in layout.tiles} for layout in (whole, wide, one)]
    assert shapes == [{(2, 2)}, {(1, 2)}, {None}]
    assert [tile.view for layout in (whole, wide, one) for tile in layout.tiles] == list(range(7))
    np.testing.assert_array_equal(wide.tiles[1].places, np.arange(STATES + 1, 2 * STATES))
    assert set(wide.separators) == {0, STATES, *range(2 * STATES, 4 * STATES)}


@torch.no_grad()
def test_evidence_is_that_of_the_stock_model() -> None:
    """Features, projected tokens and attention of tile 1 of image 1, taken out of the whole by hand."""
    model = beside.model("eager")
    inputs = pixels([PROMPTS[0], PROMPTS[1]])
    vlm = wrap(model, mllama())
    fields = ("features", "cls", "attention_map", "keys", "first_cls", "last_cls")
    encoded = encode_images(vlm, inputs["pixel_values"], fields, **{k: v for k, v in inputs.items() if "aspect" in k})
    assert len(encoded) == 7
    maps: list[torch.Tensor] = []
    last = model.model.vision_model.global_transformer.layers[-1].self_attn
    hook = last.register_forward_hook(lambda *call: maps.append(call[2][1]))
    states = model.model.vision_model(**inputs).last_hidden_state
    hook.remove()
    tokens = encoded[5]
    torch.testing.assert_close(torch.tensor(tokens.features), states[0, 1, 1, 1:])
    projected = model.model.multi_modal_projector(states)[0, 1, 1, 1:]
    torch.testing.assert_close(torch.tensor(tokens.projected), projected)
    padded = 24  # a multiple of eight
    seen = maps[0][1].mean(0)  # prompt 0, image 1; mean over heads
    own = slice(padded + 1, padded + STATES)
    torch.testing.assert_close(torch.tensor(tokens.attention_map), seen[own, own])
    torch.testing.assert_close(torch.tensor(tokens.cls), seen[:, own].mean(0))
    assert tokens.at == (0, 1)


@torch.no_grad()
def test_projecting_features_gives_the_projected_tokens() -> None:
    model = beside.model()
    encoded = encode_images(wrap(model, mllama()), **pixels([PROMPTS[1]]), needs=["features"])
    projected = adapter_for(model).project(model, encoded.features[0][None])[0]
    torch.testing.assert_close(projected, torch.tensor(encoded[0].projected))
    places = torch.as_tensor(encoded.layouts[0].tiles[0].places)
    torch.testing.assert_close(encoded.projected[0][places], projected)


@torch.no_grad()
def test_the_encoder_is_recorded_and_the_language_model_refused() -> None:
    model = beside.model()
    with record(model, all=MeanReceived()) as log:
        model(**beside.batch(0, 1))
    assert log.all.shape == (7, 3, 16)
    with pytest.raises(ValueError, match="got them beside it"), record(model, last=LastRow()):
        pass


def test_tiles_are_checked() -> None:
    with pytest.raises(ValueError, match="`sources` must have 16 entries"):
        Tile(0, (4, 4), np.arange(15), np.arange(16))
