from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from analysis.causes import rope_decay, rope_frequencies, rope_response

HEAD_DIM = 16


def rotated(vectors: torch.Tensor, position: int) -> torch.Tensor:
    """Vectors [sample, dim] rotated by the library's own embedding."""
    config = LlamaConfig(hidden_size=HEAD_DIM, num_attention_heads=1, max_position_embeddings=4096)
    cos, sin = LlamaRotaryEmbedding(config)(vectors[None, None], torch.tensor([[position]]))
    return apply_rotary_pos_emb(vectors[None, :, None], vectors[None, :, None], cos, sin)[0][0, :, 0]


@pytest.mark.parametrize("distance", [0, 1, 7, 200])
def test_expected_score_of_the_library_s_rotation(distance: int) -> None:
    vectors = torch.randn(20_000, HEAD_DIM, generator=torch.Generator().manual_seed(0))
    scores = (rotated(vectors, distance + 3) * rotated(vectors, 3)).sum(-1)
    relative = float(scores.mean() / vectors.square().sum(-1).mean())
    assert relative == pytest.approx(float(rope_decay(distance, HEAD_DIM)), abs=0.01)


def test_independent_queries_and_keys_have_no_trend() -> None:
    generator = torch.Generator().manual_seed(1)
    queries, keys = torch.randn(2, 20_000, HEAD_DIM, generator=generator)
    for distance in (0, 50):
        assert float((rotated(queries, distance) * rotated(keys, 0)).sum(-1).mean()) == pytest.approx(0, abs=0.1)


def test_symmetric_and_largest_at_zero() -> None:
    distances = np.arange(-600, 601)
    decay = rope_decay(distances, 128)
    np.testing.assert_allclose(decay, decay[::-1], atol=1e-12)
    assert decay.argmax() == 600
    assert decay.max() == 1


def test_frequencies_fall_from_one() -> None:
    frequencies = rope_frequencies(4, base=100.0)
    np.testing.assert_allclose(frequencies, [1.0, 0.1])


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="`head_dim` must be an even number of at least 2, got 7"):
        rope_decay(1, 7)
    with pytest.raises(ValueError, match="`base` must be above 1, got 1"):
        rope_decay(1, 8, base=1.0)
    with pytest.raises(ValueError, match="`distance` must be finite"):
        rope_decay(np.nan, 8)


def test_response_is_the_mean_score_of_the_library_s_rotation() -> None:
    """Queries and keys drawn around means of their own: the mean score at each distance is that of the means."""
    generator = torch.Generator().manual_seed(2)
    centres = torch.randn(2, HEAD_DIM, generator=generator)
    queries, keys = (centre + 0.3 * torch.randn(20_000, HEAD_DIM, generator=generator) for centre in centres)
    half = HEAD_DIM // 2
    z = [vectors.mean(0)[:half].numpy() + 1j * vectors.mean(0)[half:].numpy() for vectors in (queries, keys)]
    distances = np.array([0, 1, 5, 40])
    expected = rope_response(z[0] * z[1].conj(), distances)
    for distance, value in zip(distances.tolist(), expected, strict=True):
        assert float((rotated(queries, distance + 3) * rotated(keys, 3)).sum(-1).mean()) == pytest.approx(
            value, abs=0.05
        )


def test_response_of_equal_products_is_the_decay() -> None:
    distances = np.arange(-30, 600)
    np.testing.assert_allclose(rope_response(np.full(8, 0.125), distances), rope_decay(distances, 16), atol=1e-12)
    np.testing.assert_allclose(rope_response(np.full(8, -0.125), distances), -rope_decay(distances, 16), atol=1e-12)


def test_response_broadcasts() -> None:
    rng = np.random.default_rng(0)
    z, distances = rng.normal(size=(3, 2, 4)) + 1j * rng.normal(size=(3, 2, 4)), rng.normal(size=(2, 5))
    found = rope_response(z, distances, base=100.0)
    assert found.shape == (3, 2, 5)
    np.testing.assert_allclose(found[1, 0], rope_response(z[1, 0], distances[0], base=100.0))
    with pytest.raises(ValueError, match="`product` and `distance` must be finite"):
        rope_response([np.inf], [0.0])
    with pytest.raises(ValueError, match=r"`product` must be \[..., pair\]"):
        rope_response([1.0], 0.0)
