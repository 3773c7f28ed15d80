"""Assignments: what they compute, on arrays and tensors, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st

from solvers.rules import Assignment

HAND = ([3, 0], [[0.0, 0.0, 0.5, 1.0], [2.0, 0.0, 0.0, 0.0]])


def random_assignment(seed: int, outputs: int = 5, sources: int = 12) -> Assignment:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(outputs, sources)) * (rng.random((outputs, sources)) < 0.4)
    weights[np.arange(outputs), rng.integers(sources, size=outputs)] = 1.0
    return Assignment(rng.permutation(sources)[:outputs], weights)


def test_hand_example():
    merged = Assignment(*HAND)
    features = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0], [8.0, 80.0]])
    assert merged.apply(features).tolist() == [[10.0, 100.0], [2.0, 20.0]]
    assert (merged.outputs, merged.sources, merged.is_selection) == (2, 4, False)
    assert (merged.anchors.tolist(), merged.indices.tolist()) == ([3, 0], [0, 3])
    ordered = merged.in_index_order()
    assert ordered.anchors.tolist() == [0, 3]
    assert ordered.apply(features).tolist() == [[2.0, 20.0], [10.0, 100.0]]


@given(seed=st.integers(0, 10**6), dtype=st.sampled_from([np.float16, np.float32, np.float64]))
def test_is_the_weighted_sum_in_float64_and_keeps_the_dtype(seed, dtype):
    merged = random_assignment(seed)
    features = np.random.default_rng(seed).normal(size=(12, 3)).astype(dtype)
    slow = np.zeros((5, 3))
    for output, row in enumerate(merged.weights.toarray()):
        for source, weight in enumerate(row):
            slow[output] += weight * features[source].astype(np.float64)
    result = merged.apply(features)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, slow.astype(dtype), rtol=4 * np.finfo(dtype).eps, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)],
)
def test_a_tensor_gives_a_tensor_of_its_dtype(dtype, tolerance):
    merged = random_assignment(3)
    features = torch.tensor(np.random.default_rng(3).normal(size=(12, 7)), dtype=dtype)
    result = merged.apply(features)
    assert (result.dtype, result.device, tuple(result.shape)) == (dtype, features.device, (5, 7))
    expected = merged.weights.toarray() @ features.to(torch.float64).numpy()
    np.testing.assert_allclose(result.to(torch.float64).numpy(), expected, rtol=tolerance, atol=tolerance)


def test_half_precision_is_summed_in_more():
    """2048 + 1 is 2048 in half precision, and a thousand times 1 added one by one would leave it there."""
    mean = Assignment([0], np.ones((1, 1001)))
    column = np.ones((1001, 1), dtype=np.float16)
    column[0] = 2048.0
    assert mean.apply(column).item() == 3048.0
    assert mean.apply(torch.tensor(column)).item() == 3048.0
    third = Assignment([0], [[1 / 3, 1 / 3]])
    for dtype in (torch.float16, torch.bfloat16):  # the weights are not rounded either
        pairs = torch.linspace(0.1, 9.0, 200).reshape(2, 100).to(dtype)
        exact = pairs.to(torch.float64).sum(0, keepdim=True) / 3
        error = (third.apply(pairs).to(torch.float64) - exact).abs() / exact
        assert error.max() <= 0.501 * torch.finfo(dtype).eps  # what rounding the result alone may cost


def test_a_selection_copies_rows_bit_for_bit():
    chosen = Assignment.selection([7, 2, 11], 12)
    assert chosen.is_selection
    assert (chosen.anchors.tolist(), chosen.outputs, chosen.sources) == ([2, 7, 11], 3, 12)
    features = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    features[7, 1] = np.nan  # would spread in a dense product
    np.testing.assert_array_equal(chosen.apply(features), features[[2, 7, 11]])
    assert not np.shares_memory(chosen.apply(features), features)
    tensor = torch.tensor(features).to(torch.bfloat16)
    assert torch.equal(chosen.apply(tensor).nan_to_num(), tensor[[2, 7, 11]].nan_to_num())
    assert Assignment.selection(np.arange(12), 12).is_selection


@pytest.mark.parametrize(
    ("anchors", "weights"),
    [
        ([1, 0], np.eye(3)[[0, 1]]),  # takes the place of another
        ([0, 1], 2.0 * np.eye(3)[[0, 1]]),
        ([0, 1], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.5]]),
    ],
)
def test_anything_else_is_no_selection(anchors, weights):
    assert not Assignment(anchors, weights).is_selection


def test_a_selection_in_another_order_is_one_too():
    swapped = Assignment([2, 0], np.eye(3)[[2, 0]])
    assert swapped.is_selection
    assert swapped.apply(np.array([[1.0], [2.0], [3.0]])).ravel().tolist() == [3.0, 1.0]
    assert swapped.in_index_order() == Assignment.selection([0, 2], 3)


def test_dense_and_sparse_weights_mean_the_same():
    dense = random_assignment(1)
    matrix = dense.weights.toarray()
    rows, columns = np.nonzero(matrix)
    order = np.random.default_rng(1).permutation(rows.size)
    halves = np.concatenate([matrix[rows, columns][order] / 2.0] * 2)
    doubled = scipy.sparse.coo_array((halves, (np.tile(rows[order], 2), np.tile(columns[order], 2))), shape=(5, 12))
    assert Assignment(dense.anchors, doubled) == dense
    assert Assignment(dense.anchors, scipy.sparse.csr_array(matrix)) == dense
    assert Assignment(dense.anchors, matrix.tolist()) == dense
    unsorted = scipy.sparse.csr_array(([0.5, 1.0, 0.5], [1, 0, 1], [0, 3]), shape=(1, 3))
    assert Assignment([1], unsorted) == Assignment([1], [[1.0, 1.0, 0.0]])
    assert Assignment(dense.anchors[::-1], matrix) != dense
    assert Assignment(dense.anchors, 2.0 * matrix) != dense
    assert dense != "an assignment"


def test_is_frozen_and_its_own():
    anchors, matrix = np.array([0, 1]), scipy.sparse.csr_array(np.eye(2, 3))
    merged = Assignment(anchors, matrix)
    anchors[0], matrix.data[0] = 2, 9.0
    assert merged == Assignment([0, 1], np.eye(2, 3))
    for array in (merged.anchors, merged.weights.data, merged.weights.indices, merged.weights.indptr):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(merged)


@pytest.mark.parametrize(
    ("anchors", "weights", "message"),
    [
        ([0], [1.0, 0.0], r"`weights` must have shape \[output, source\], got \(2,\)"),
        ([0], [[1.0, np.nan]], "`weights` must be finite, got 1 NaN or infinite of 2 values"),
        ([0], scipy.sparse.csr_array([[1.0, np.inf]]), "`weights` must be finite, got 1 NaN or infinite of 2 values"),
        ([0], [["a"]], "`weights` must be an array of real numbers, got dtype"),
        ([], np.ones((0, 3)), r"`weights` must have at least one output and one source, got \(0, 3\)"),
        ([0, 1], [[1.0, 0.0], [0.0, 0.0]], "`weights` must not be 0 throughout an output, got 1, first 1"),
        ([0], scipy.sparse.csr_array(([0.0], ([0], [1]))), "`weights` must not be 0 throughout an output, got 1"),
        ([0], np.eye(2), r"`anchors` must have shape \[output\] with 2 outputs, got \(1,\)"),
        ([[0, 1]], np.eye(2), r"`anchors` must have shape \[output\] with 2 outputs, got \(1, 2\)"),
        ([0.0, 1.0], np.eye(2), "`anchors` must be integers, got dtype float64"),
        ([0, 2], np.eye(2), r"`anchors` must be in \[0, 1\], got 2"),
        ([-1, 0], np.eye(2), r"`anchors` must be in \[0, 1\], got -1"),
        ([1, 1], np.eye(2), "`anchors` must be distinct, got 1 2 times"),
    ],
)
def test_refuses_what_is_no_assignment(anchors, weights, message):
    with pytest.raises(ValueError, match=message):
        Assignment(anchors, weights)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ([], "`anchors` must have shape"),
        ([3, 3], "`anchors` must be distinct, got 3 2 times"),
        ([4], r"`anchors` must be in \[0, 3\], got 4"),
        ([0.5], "`anchors` must be integers, got dtype float64"),
        ([[0, 1]], r"`anchors` must have shape .* got \(1, 2\)"),
    ],
)
def test_refuses_what_is_no_selection(kept, message):
    with pytest.raises(ValueError, match=message):
        Assignment.selection(kept, 4)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.ones((3, 2)), r"`features` must have shape \[source, dim\] with 4 sources, got \(3, 2\)"),
        (torch.ones(1, 4, 2), r"`features` must have shape \[source, dim\] with 4 sources, got \(1, 4, 2\)"),
        (np.ones((4, 2), dtype=np.int64), "`features` must be of a floating dtype, got int64"),
        (torch.ones(4, 2, dtype=torch.int32), r"`features` must be of a floating dtype, got torch\.int32"),
    ],
)
def test_refuses_features_it_cannot_merge(features, message):
    with pytest.raises(ValueError, match=message):
        Assignment(*HAND).apply(features)
