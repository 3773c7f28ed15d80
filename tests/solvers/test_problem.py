"""Problem: what it accepts, refuses, caches and stores."""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
import tempfile
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers import Cardinality, Conflict, Forced, Partition, Problem, WholeRows
from solvers.constraints import CONSTRAINTS

FEATURES = np.random.default_rng(0).normal(size=(6, 3))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"budget": 0}, r"`budget` must be in \[1, 6\], got 0"),
        ({"budget": 7}, r"`budget` must be in \[1, 6\], got 7"),
        ({"budget": 2.5}, r"`budget` must be an integer in \[1, 6\], got 2.5"),
        ({"budget": True}, r"`budget` must be an integer in \[1, 6\], got True"),
        ({"features": np.where(FEATURES > 1, np.nan, FEATURES)}, "`features` must be finite, got"),
        ({"features": FEATURES * np.inf}, "`features` must be finite, got 18 NaN or infinite of 18 values"),
        ({"features": FEATURES[0]}, r"`features` must have shape \[token, dim\] without empty axes, got \(3,\)"),
        ({"features": FEATURES[:0]}, r"`features` must have shape \[token, dim\] without empty axes, got \(0, 3\)"),
        ({"features": FEATURES * (np.arange(6) != 4)[:, None]}, "no zero row under metric='cosine', got row 4 zero"),
        ({"features": np.array([["a"]])}, "`features` must be an array of real numbers, got dtype"),
        ({"signals": {"cls": np.ones(5)}}, r"`signals\['cls'\]` must have shape \[token\] = \[6\] .* got \(5,\)"),
        ({"signals": {"cls": np.full(6, np.inf)}}, r"`signals\['cls'\]` must be finite, got 6 NaN or infinite"),
        ({"signals": {"text": np.ones(6)}}, r"`signals\['text'\]` must have shape \[word, dim\], got \(6,\)"),
        ({"grid": (2, 4)}, r"`grid` must be \(rows, columns\) with rows \* columns = 6, got \(2, 4\)"),
        ({"grid": (-2, -3)}, "`grid` must be"),
        ({"grid": (2.7, 3)}, r"`grid` must be two integers \(rows, columns\), got \(2.7, 3\)"),
        ({"grid": 6}, r"`grid` must be two integers \(rows, columns\), got 6"),
        (
            {"features": FEATURES * 1e160, "metric": "dot"},
            "`features` must be at most 1e\\+150 under metric='dot', got",
        ),
        ({"groups": np.ones(6)}, r"`groups` must be integers of shape \[6\], got float64 \(6,\)"),
        ({"queries": np.ones((2, 4))}, r"`queries` must have shape \[word, 3\] beside features, got \(2, 4\)"),
    ],
)
def test_wrong_input_is_named(change, text):
    with pytest.raises(ValueError, match=text):
        Problem.from_features(**({"features": FEATURES, "budget": 2} | change))


def test_unknown_metric_suggests_the_nearest():
    with pytest.raises(KeyError, match="unknown metric 'cosin'; did you mean 'cosine'"):
        Problem.from_features(FEATURES, 2, metric="cosin")


@pytest.mark.parametrize(
    ("similarity", "text"),
    [
        (np.ones((2, 3)), r"`similarity` must have shape \[token, token\], got \(2, 3\)"),
        (np.arange(9.0).reshape(3, 3), "`similarity` must be symmetric, got a largest asymmetry of 4"),
        (np.full((2, 2), np.nan), "`similarity` must be finite"),
    ],
)
def test_wrong_similarity_is_named(similarity, text):
    with pytest.raises(ValueError, match=text):
        Problem.from_similarity(similarity, 1)


def test_missing_signal_suggests_the_nearest():
    problem = Problem.from_features(FEATURES, 2, signals={"relevance": np.ones(6), "map": np.ones((6, 6))})
    with pytest.raises(KeyError, match="unknown signal 'relevence'; did you mean 'relevance'"):
        problem.signal("relevence")
    assert problem.lacks("relevance") is None
    assert problem.lacks("map") == "signal 'map' must have one value per token, got shape (6, 6)"


def test_arrays_are_read_only_and_its_own():
    source, signal = FEATURES.copy(), np.ones(6)
    problem = Problem.from_features(source, 2, signals={"cls": signal})
    source[:], signal[:] = 0.0, 7.0
    np.testing.assert_array_equal(problem.features, FEATURES)
    np.testing.assert_array_equal(problem.signals["cls"], np.ones(6))
    for array in (problem.features, problem.signals["cls"], problem.similarity):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    with pytest.raises(TypeError):
        problem.signals["more"] = signal
    with pytest.raises(AttributeError):
        problem.budget = 3


def test_cosine_similarity_has_unit_diagonal_and_exact_symmetry():
    similarity = Problem.from_features(FEATURES.astype(np.float32) * 1e-3, 2).similarity
    assert similarity.dtype == np.float64
    assert np.array_equal(similarity, similarity.T)
    assert np.array_equal(np.diag(similarity), np.ones(6))
    assert np.abs(similarity).max() <= 1.0
    angle = FEATURES[1] @ FEATURES[4] / np.linalg.norm(FEATURES[1]) / np.linalg.norm(FEATURES[4])
    assert similarity[1, 4] == pytest.approx(angle, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e200, 1e300])
def test_cosines_of_any_scale(scale):
    expected = Problem.from_features(FEATURES, 2).similarity
    np.testing.assert_allclose(Problem.from_features(FEATURES * scale, 2).similarity, expected, atol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_equal_tokens_are_equal_to_the_last_bit(metric):
    """Of the plain matrix product that is not true: sums run in another order at another place."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        kind = rng.integers(0, 5, 120)
        features = rng.normal(size=(5, 61))[kind]
        similarity = Problem.from_features(features, 2, metric=metric).similarity
        first = [int(np.argmax(kind == token)) for token in kind]
        assert np.array_equal(similarity, similarity[first][:, first])
        reference = features @ features.T
        if metric == "cosine":
            reference /= np.sqrt(np.diag(reference))[:, None] * np.sqrt(np.diag(reference))
        np.testing.assert_allclose(similarity, reference, atol=1e-12)


def test_a_read_only_view_is_no_protection():
    source = FEATURES.copy()
    view = source.view()
    view.setflags(write=False)
    problem = Problem.from_features(view, 2)
    source[:] = 0.0
    np.testing.assert_array_equal(problem.features, FEATURES)


def test_dot_similarity_is_the_gram_matrix():
    np.testing.assert_allclose(Problem.from_features(FEATURES, 2, metric="dot").similarity, FEATURES @ FEATURES.T)


def test_siblings_share_data_caches_and_fingerprint():
    problem = Problem.from_features(FEATURES, 2, id="p")
    sibling = problem.with_budget(5)
    assert (problem.budget, sibling.budget, sibling.id) == (2, 5, "p")
    assert sibling.similarity is problem.similarity
    assert sibling.fingerprint == problem.fingerprint


def test_fingerprint_is_the_data():
    problem = Problem.from_features(FEATURES, 2)
    assert problem.id == problem.fingerprint[:12]
    assert Problem.from_features(FEATURES, 3, id="other").fingerprint == problem.fingerprint
    assert Problem.from_features(FEATURES + 1e-9, 2).fingerprint != problem.fingerprint
    assert Problem.from_features(FEATURES, 2, signals={"a": np.ones(6)}).fingerprint != problem.fingerprint
    assert Problem.from_features(FEATURES, 2, grid=(2, 3)).fingerprint != problem.fingerprint


def test_save_and_load(tmp_path, make_problem):
    problem = make_problem(id="stored")
    problem.save(tmp_path / "deep" / "p.npz")
    loaded = Problem.load(tmp_path / "deep" / "p.npz")
    assert loaded.fingerprint == problem.fingerprint
    assert (loaded.id, loaded.budget, loaded.grid, loaded.metric) == ("stored", 3, (3, 4), "cosine")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["p.npz"]
    given = Problem.from_similarity(np.eye(4), 2, groups=[0, 0, 1, 1])
    given.save(tmp_path / "s.npz")
    assert Problem.load(tmp_path / "s.npz").fingerprint == given.fingerprint


def test_load_refuses_missing_and_damaged_files(tmp_path, make_problem):
    with pytest.raises(FileNotFoundError, match="no problem file at"):
        Problem.load(tmp_path / "none.npz")
    path = tmp_path / "p.npz"
    make_problem().save(path)
    content = path.read_bytes()
    for damaged in (b"", b"not a zip", content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(OSError, match="is damaged or not a problem file"):
            Problem.load(path)
    np.savez(path, about=np.array('{"format": "other"}'))
    with pytest.raises(OSError, match="format 'other'"):
        Problem.load(path)
    np.savez(path, about=np.array('{"format": "prunescope-problem-1"}'), features=FEATURES)
    with pytest.raises(OSError, match="is damaged or not a problem file: 'budget'"):
        Problem.load(path)


def test_files_of_the_first_format_are_read(tmp_path):
    about = '{"format": "prunescope-problem-1", "budget": 2, "grid": [2, 3], "metric": "cosine", "id": "old"}'
    np.savez(tmp_path / "p.npz", about=np.array(about), features=FEATURES, **{"signal:cls": np.ones(6)})
    loaded = Problem.load(tmp_path / "p.npz")
    written = Problem.from_features(FEATURES, 2, signals={"cls": np.ones(6)}, grid=(2, 3))
    assert (loaded.id, loaded.constraint, loaded.fingerprint) == ("old", Cardinality(), written.fingerprint)


KEPT = (
    Cardinality(),
    Partition(2),
    Partition((np.int64(0), 1, 3)),
    Partition((1, 2, 1), by="groups"),
    Forced(kept=(7, 2), dropped=(0, 5)),
    Forced(kept=(3,), within=Partition((2, 2, 2))),
    WholeRows(),
    Conflict(0.99),
    Conflict(np.float64(0.75)),
    Conflict(np.float32(1)),
)


@pytest.mark.parametrize("constraint", KEPT, ids=repr)
def test_every_constraint_comes_back(constraint, make_problem, tmp_path):
    bare = make_problem(budget=4)
    groups = [0, 0, 0, 0, 0, 7, 7, 7, 7, -2, -2, -2]
    problem = dataclasses.replace(bare, constraint=constraint, groups=groups, id="p")
    problem.save(tmp_path / "p.npz")
    loaded = Problem.load(tmp_path / "p.npz")
    assert loaded.constraint == constraint
    assert repr(loaded.constraint) == repr(constraint)
    assert (loaded.fingerprint, loaded.budget, loaded.id) == (problem.fingerprint, 4, "p")


def test_the_constraints_above_are_all_there_are():
    assert {type(constraint) for constraint in KEPT} == set(CONSTRAINTS)


def test_the_fingerprint_of_a_problem_is_the_same_in_every_version():
    plain = Problem.from_similarity(np.eye(2), 1, signals={"cls": [0.25, 0.5]}, grid=(1, 2))
    assert plain.fingerprint[:16] == "09442efcbf046ced"


@dataclasses.dataclass(frozen=True)
class Even(Cardinality):
    """Somebody else's."""


def test_a_constraint_that_the_file_cannot_hold_is_not_dropped(tmp_path):
    known = "Cardinality, Partition, Forced, WholeRows, Conflict"
    with pytest.raises(ValueError, match=rf"only problems under {known} can be saved, got Even\(\)"):
        Problem.from_features(FEATURES, 2, constraint=Even()).save(tmp_path / "p.npz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("constraint", "text"),
    [
        ('{"class": "Patition"}', "unknown constraint 'Patition'; did you mean 'Partition'"),
        ('{"class": "WholeRows", "rows": 2}', "unexpected keyword argument 'rows'"),
        ('{"class": "Partition", "capacities": -1}', "`capacities` must be one or more integers of at least 0, got -1"),
        ('{"class": "Partition", "capacities": 1, "by": "rows"}', "a partition by rows needs `grid`"),
        ('{"class": "Forced", "within": {"class": "os.system"}}', "unknown constraint 'os.system'"),
        ("{}", "'class'"),
        ("[1]", "list indices must be integers"),
    ],
)
def test_a_file_with_a_constraint_that_there_is_not_is_refused(constraint, text, tmp_path):
    about = '{"format": "prunescope-problem-2", "budget": 2, "grid": null, "metric": "cosine", "id": "", '
    about += f'"signals": [], "constraint": {constraint}}}'
    np.savez(tmp_path / "p.npz", about=np.array(about), features=FEATURES)
    with pytest.raises(OSError, match=f"is damaged or not a problem file: .*{text}"):
        Problem.load(tmp_path / "p.npz")


@given(
    data=hnp.arrays(np.float32, (4, 3), elements=st.floats(0.5, 2, width=32)),
    signals=st.dictionaries(
        st.text(max_size=8).filter(lambda name: name != "text"), hnp.arrays(np.float64, 4, elements=st.floats(-9, 9))
    ),
    metric=st.sampled_from(["cosine", "dot"]),
    budget=st.integers(1, 4),
    id=st.text(max_size=8),
)
def test_save_and_load_is_the_identity(data, signals, metric, budget, id):
    """Names of signals may hold slashes, dots, zeros: they are no paths in the archive."""
    problem = Problem.from_features(data, budget, signals=signals, metric=metric, grid=(2, 2), id=id)
    with tempfile.TemporaryDirectory() as folder:
        problem.save(f"{folder}/p.npz")
        loaded = Problem.load(f"{folder}/p.npz")
    assert (loaded.fingerprint, loaded.id, loaded.budget) == (problem.fingerprint, problem.id, budget)
    assert list(loaded.signals) == list(signals)


@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(1, 255))
def test_a_changed_byte_is_harmless_or_found(place, byte):
    problem = Problem.from_features(FEATURES, 2, signals={"cls": np.arange(6.0)}, constraint=Forced(kept=(1,)), id="p")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.npz"
        problem.save(path)
        content = bytearray(path.read_bytes())
        content[int(place * len(content))] ^= byte
        path.write_bytes(content)
        with contextlib.suppress(OSError):
            assert Problem.load(path).fingerprint == problem.fingerprint


def test_a_problem_travels_to_worker_processes_without_its_caches(make_problem):
    problem = make_problem(id="w")
    before = len(pickle.dumps(problem))
    assert problem.similarity.shape == (12, 12)
    assert len(pickle.dumps(problem)) == before
    assert pickle.loads(pickle.dumps(problem)).fingerprint == problem.fingerprint
