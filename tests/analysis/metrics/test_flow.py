from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.metrics import attention_flow, rollout

N = 5


def random_maps(layers: int, tokens: int, seed: int, sharpness: float = 1.0) -> np.ndarray:
    weights = np.exp(sharpness * np.random.default_rng(seed).normal(size=(layers, tokens, tokens)))
    return weights / weights.sum(-1, keepdims=True)


def flow_by_networkx(maps: np.ndarray, query: int, target: int, residual: float) -> float:
    graph = nx.DiGraph()
    for layer, rows in enumerate(maps):
        mixed = (1 - residual) * rows + residual * np.eye(len(rows))
        for i, j in np.ndindex(mixed.shape):
            graph.add_edge((layer + 1, i), (layer, j), capacity=mixed[i, j])
    return float(nx.maximum_flow_value(graph, (len(maps), query), (0, target)))


@settings(max_examples=40)
@given(
    layers=st.integers(1, 4),
    tokens=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
    sharpness=st.floats(0, 6),
    residual=st.sampled_from([0.0, 0.2, 0.5, 0.9]),
)
def test_flow_equals_networkx(layers: int, tokens: int, seed: int, sharpness: float, residual: float) -> None:
    maps = random_maps(layers, tokens, seed, sharpness)
    query = tokens - 1
    expected = [flow_by_networkx(maps, query, target, residual) for target in range(tokens)]
    np.testing.assert_allclose(attention_flow(maps, query, residual=residual), expected, atol=1e-9)


def test_flow_that_needs_a_second_search() -> None:
    """A path taken first that blocks two others: the flow must be sent back."""
    maps = np.zeros((3, 4, 4))
    maps[2, 0] = [0.5, 0.5, 0, 0]
    maps[2, 1:] = np.eye(4)[1:]
    maps[1, 0] = [0.5, 0.5, 0, 0]
    maps[1, 1] = [1, 0, 0, 0]
    maps[1, 2:] = np.eye(4)[2:]
    maps[0, 0] = [0.5, 0, 0, 0.5]
    maps[0, 1] = [0.5, 0, 0, 0.5]
    maps[0, 2:] = np.eye(4)[2:]
    expected = [flow_by_networkx(maps, 0, target, 0.0) for target in range(4)]
    np.testing.assert_allclose(attention_flow(maps, 0, residual=0.0), expected, atol=1e-9)


def test_rollout_is_the_product_of_the_mixed_maps() -> None:
    maps = random_maps(3, N, 0)
    mixed = [(rows + np.eye(N)) / 2 for rows in maps]
    np.testing.assert_allclose(rollout(maps), mixed[2] @ mixed[1] @ mixed[0])
    np.testing.assert_allclose(rollout(maps).sum(-1), 1)


def test_rows_are_normalised_not_columns() -> None:
    maps = random_maps(2, N, 1)
    scaled = maps * np.arange(1, N + 1)[:, None]
    np.testing.assert_allclose(rollout(scaled), rollout(maps))


def test_attention_to_oneself_goes_nowhere() -> None:
    maps = np.stack([np.eye(N)] * 3)
    np.testing.assert_array_equal(rollout(maps), np.eye(N))
    np.testing.assert_array_equal(attention_flow(maps, 2), np.eye(N)[2])


def test_one_layer_flows_what_it_attends() -> None:
    maps = random_maps(1, N, 2)
    np.testing.assert_allclose(attention_flow(maps, 3, residual=0.0), maps[0, 3])
    np.testing.assert_allclose(rollout(maps, residual=0.0), maps[0])


def test_discarding_keeps_the_largest_entries() -> None:
    maps = np.array([[[0.7, 0.3], [0.1, 0.9]]])
    np.testing.assert_allclose(rollout(maps, residual=0.0, discard=0.5), [[[1, 0], [0, 1]]][0])
    # the second row loses everything and keeps itself
    np.testing.assert_allclose(rollout(np.array([[[0.6, 0.4], [0.0, 1.0]]]), discard=0.75)[0], [0, 1][::-1])


def test_labelled_maps_of_several_images() -> None:
    maps = np.stack([random_maps(3, N, seed) for seed in range(4)])
    named = xr.DataArray(maps, dims=("image", "layer", "query", "token"))
    for data in (named, named.chunk({"image": 2, "layer": 1})):
        flow = attention_flow(data, 1)
        assert flow.dims == ("image", "target")
        np.testing.assert_allclose(flow[2], attention_flow(maps[2], 1))
        joint = rollout(data)
        assert joint.dims == ("image", "query", "token")
        np.testing.assert_allclose(joint[3], rollout(maps[3]))


def test_some_targets() -> None:
    maps = random_maps(3, N, 7)
    np.testing.assert_array_equal(attention_flow(maps, 0, targets=[4, 1]), attention_flow(maps, 0)[[4, 1]])


@pytest.mark.parametrize(
    ("maps", "options", "text"),
    [
        (np.ones((2, 3)), {}, r"got \(2, 3\)"),
        (np.ones((1, 2, 3)), {}, "query = token"),
        (-np.ones((1, 2, 2)), {}, "must not be negative"),
        (np.zeros((1, 2, 2)), {}, "positive sum"),
        (np.ones((1, 2, 2)), {"residual": 1.0}, r"`residual` must be in \[0, 1\), got 1.0"),
        (xr.DataArray(np.ones((1, 2, 2)), dims=("layer", "token", "key")), {}, "must have the dimensions"),
    ],
)
def test_bad_input_is_refused(maps, options: dict[str, float], text: str) -> None:
    for function in (rollout, attention_flow):
        with pytest.raises(ValueError, match=text):
            function(maps, **options)


def test_tokens_that_do_not_exist_are_refused() -> None:
    maps = random_maps(1, 3, 0)
    with pytest.raises(ValueError, match=r"`query` must be tokens in \[0, 2\], got \[3\]"):
        attention_flow(maps, 3)
    with pytest.raises(ValueError, match=r"`targets` must be tokens in \[0, 2\], got \[\]"):
        attention_flow(maps, 0, targets=[])
    with pytest.raises(ValueError, match=r"`discard` must be in \[0, 1\), got 2"):
        rollout(maps, discard=2)
