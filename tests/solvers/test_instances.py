"""CLIP-like statistics as measured, planted optima against exhaustive and exact search, real instances from files."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import solvers
from solvers import BruteForce, Exact, FacilityLocation, Greedy, LogDet, MaxMin, Problem, instances
from solvers.instances.recorded import read_instance, write_instance

ROOT = Path(solvers.__file__).parents[1]
CARD = (ROOT / "data" / "instances" / "README.md").read_text(encoding="utf-8")
CARD_ROW = re.compile(r"^\| `(\S+)` \| (\d+) \| ([\d.]+) \| [\d.]+ \| (\d+) \| `([0-9a-f]{64})` \|$", re.MULTILINE)


@pytest.mark.parametrize("seed", range(3))
def test_clip_like_features_have_the_cosines_of_clip_patches(seed):
    problem = instances.clip_like(seed=seed)
    cosines = problem.similarity
    low, median, high = np.quantile(cosines[np.triu_indices(576, 1)], [0.01, 0.5, 0.99])
    assert low == pytest.approx(0.19, abs=0.02)
    assert median == pytest.approx(0.33, abs=0.02)
    assert high == pytest.approx(0.64, abs=0.03)
    right = np.arange(576).reshape(24, 24)
    assert cosines[right[:, :-1], right[:, 1:]].mean() == pytest.approx(0.69, abs=0.02)
    share = np.sort(problem.signal("cls"))[::-1]
    assert share[:64].sum() == pytest.approx(0.75, abs=0.09)
    assert share.sum() == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(np.linalg.norm(problem.features, axis=1), 1.0, atol=1e-6)


def test_clip_like_tiles_share_their_directions_and_are_groups():
    problem = instances.clip_like(8, grid=(6, 5), tiles=3, dim=64, seed=1)
    assert (problem.tokens, problem.grid, problem.budget) == (90, None, 8)
    assert problem.groups.tolist() == [0] * 30 + [1] * 30 + [2] * 30
    across = problem.similarity[:30, 30:60].mean()
    assert across > 0.15  # the common direction; independent ones would have a mean of nearly 0
    assert instances.clip_like(8, grid=(6, 5)).groups is None


def test_clip_like_follows_its_seed():
    first, again, other = (instances.clip_like(4, grid=(3, 4), dim=16, seed=seed) for seed in (2, 2, 3))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert len({first.id, other.id, instances.clip_like(4, grid=(3, 4), dim=16, tiles=2, seed=2).id}) == 3
    assert instances.clip_like(1, grid=(1, 1), dim=1).tokens == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": (0, 4)}, r"`grid` must have at least one row and one column, got \(0, 4\)"),
        ({"grid": 24}, r"`grid` must be two integers \(rows, columns\), got 24"),
        ({"tiles": 0}, "`tiles` must be an integer of at least 1, got 0"),
        ({"dim": 1.5}, "`dim` must be an integer of at least 1, got 1.5"),
        ({"seed": -1}, "`seed` must be a non-negative integer, got -1"),
        ({"budget": 13, "grid": (3, 4)}, r"`budget` must be in \[1, 12\], got 13"),
    ],
)
def test_clip_like_says_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        instances.clip_like(**options)


SMALL = [
    lambda seed: instances.planted_clusters(3, 4, seed=seed),
    lambda seed: instances.planted_clusters(2, 3, hub=True, seed=seed),
    lambda seed: instances.planted_clusters(4, 4, hub=True, seed=seed),
    lambda seed: instances.planted_duplicates(5, 3, 3, seed=seed),
    lambda seed: instances.planted_duplicates(1, 4, 1, seed=seed),
    lambda seed: instances.planted_packing(4, 3, seed=seed),
    lambda seed: instances.planted_packing(2, 5, spread=0.9, seed=seed),
    lambda seed: instances.planted_packing(5, 3, spread=0.6, seed=seed),
    lambda seed: instances.planted_blocks(4, 3, 3, seed=seed),
    lambda seed: instances.planted_blocks(3, 4, 5, correlation=0.5, seed=seed),
    lambda seed: instances.planted_blocks(2, 4, 7, correlation=0.0, seed=seed),
]


@pytest.mark.parametrize("plant", SMALL)
@pytest.mark.parametrize("seed", range(3))
def test_exhaustive_search_finds_nothing_better_than_what_was_planted(plant, seed):
    problem, objective, selected, value = plant(seed)
    assert np.all(np.diff(selected) > 0)
    assert selected.size == problem.budget
    assert objective.value(problem, selected) == pytest.approx(value, abs=1e-6)
    assert BruteForce().solve(problem, objective).value == pytest.approx(value, abs=1e-6)


LARGE = [
    (instances.planted_clusters(32, 18), FacilityLocation),
    (instances.planted_clusters(24, 20, hub=True), FacilityLocation),
    (instances.planted_packing(6, 20), MaxMin),
    (instances.planted_blocks(16, 36, 12), LogDet),
]


@pytest.mark.parametrize(("known", "objective"), LARGE, ids=lambda item: getattr(item, "__name__", ""))
def test_exact_proves_what_was_planted(known, objective):
    assert type(known.objective) is objective
    solution = Exact().solve(known.problem, known.objective)
    assert solution.status.label == "optimal"
    assert solution.value == pytest.approx(known.value, abs=1e-5)
    assert solution.upper_bound == pytest.approx(known.value, abs=1e-5)
    assert known.objective.value(known.problem, known.selected) == pytest.approx(known.value, abs=1e-5)


def test_the_medoids_are_the_only_optimum_of_planted_clusters():
    known = instances.planted_clusters(12, 12, seed=4)
    assert sorted(Exact().solve(known.problem, known.objective).selected) == known.selected.tolist()


@pytest.mark.parametrize("clusters", [2, 5, 20])
def test_greedy_falls_for_the_hub_and_only_for_the_hub(clusters):
    plain = instances.planted_clusters(clusters, 8, seed=1)
    assert Greedy().solve(plain.problem, plain.objective).value == pytest.approx(plain.value, abs=1e-5)
    known = instances.planted_clusters(clusters, 8, hub=True, seed=1)
    trapped = Greedy().solve(known.problem, known.objective)
    assert trapped.value < known.value - 0.5
    assert trapped.selected[0] not in known.selected


def test_planted_selections_are_the_same_for_the_same_seed_and_hidden_in_random_places():
    first, again, other = (instances.planted_packing(6, 4, seed=seed) for seed in (0, 0, 1))
    assert first.problem.fingerprint == again.problem.fingerprint != other.problem.fingerprint
    assert first.selected.tolist() == again.selected.tolist() != other.selected.tolist()


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (lambda: instances.planted_clusters(1), "`clusters` must be an integer of at least 2, got 1"),
        (lambda: instances.planted_clusters(3, 2), "`size` must be an integer of at least 3, got 2"),
        (lambda: instances.planted_duplicates(4, 2, 5), r"`budget` must be an integer in \[1, 4\], got 5"),
        (lambda: instances.planted_packing(3, spread=1.0), "`spread` must lie between 0 and 1, got 1.0"),
        (lambda: instances.planted_blocks(2, 3, 7), r"`budget` must be an integer in \[1, 6\], got 7"),
        (lambda: instances.planted_blocks(correlation=1.0), r"`correlation` must lie in \[0, 1\), got 1.0"),
    ],
)
def test_planting_says_what_is_wrong(plant, message):
    with pytest.raises(ValueError, match=message):
        plant()


def test_names_are_the_files_of_the_card():
    rows = {Path(name).stem: row for name, *row in CARD_ROW.findall(CARD)}
    assert tuple(rows) == instances.names()
    assert len(rows) == 21
    for name, (tokens, median, size, digest) in rows.items():
        content = (ROOT / "data" / "instances" / f"{name}.safetensors").read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (int(size), digest)
        if name in ("mini_vqa_000", "mosaic_000"):
            problem = instances.load(name)
            cosines = problem.similarity[np.triu_indices(problem.tokens, 1)]
            assert problem.tokens == int(tokens)
            assert np.median(cosines) == pytest.approx(float(median), abs=5e-4)
    assert sum(path.stat().st_size for path in (ROOT / "data" / "instances").iterdir()) < 6e6


def test_a_real_instance_holds_what_rules_read():
    problem = instances.load("mini_vqa_001", budget=48)
    assert (problem.tokens, problem.budget, problem.grid, problem.groups) == (576, 48, (24, 24), None)
    assert problem.queries.shape[1] == problem.features.shape[1] == 128
    assert 0.8 < problem.signal("cls").sum() <= 1.0
    np.testing.assert_allclose(problem.signal("attention_map").sum(axis=1), 1.0, atol=0.02)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (problem.features, problem.queries)]
    np.testing.assert_allclose(problem.signal("relevance"), (unit[0] @ unit[1].T).mean(axis=1), atol=1e-5)
    for rule in solvers.published_rules():
        assert rule.supports(problem, FacilityLocation()) is None


def test_the_mosaic_has_five_tiles():
    problem = instances.load("mosaic_000")
    assert (problem.tokens, problem.grid) == (2880, None)
    assert np.bincount(problem.groups).tolist() == [576] * 5


def test_unknown_names_stay_in_the_folder():
    with pytest.raises(KeyError, match="unknown instance 'mini_vqa_0'; did you mean 'mini_vqa_0"):
        instances.load("mini_vqa_0")
    with pytest.raises(KeyError, match="unknown instance"):
        instances.load("../mini_llava/model")
    with pytest.raises(ValueError, match=r"`budget` must be in \[1, 576\], got 577"):
        instances.load("mini_vqa_000", budget=577)


def test_an_instance_survives_its_file_and_gives_the_same_bytes(tmp_path, make_problem):
    plain = make_problem()
    problem = Problem.from_features(
        plain.features.astype(np.float16),
        3,
        signals={name: plain.signals[name].astype(np.float32) for name in ("cls", "relevance")},
        groups=np.arange(12) // 6,
        queries=np.ones((2, 8), dtype=np.float16),
        id="x",
    )
    for name in ("a", "b"):
        write_instance(problem, tmp_path / name, {"pictures": "none", "question": "what ?"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = read_instance(tmp_path / "a")
    assert (again.id, again.budget, again.fingerprint) == ("x", 1, problem.fingerprint)


def test_damaged_files_are_named(tmp_path):
    whole = (ROOT / "data" / "instances" / "mini_vqa_002.safetensors").read_bytes()
    for name, content in {"empty": b"", "short": whole[:1000], "other": b"\x00" * 64}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(OSError, match=f"{name} is damaged or not an instance file"):
            read_instance(tmp_path / name)
    with pytest.raises(OSError, match="is damaged or not an instance file"):
        read_instance(ROOT / "data" / "mini_llava" / "model.safetensors")
    with pytest.raises(FileNotFoundError, match="no instance file at"):
        read_instance(tmp_path / "none")


def test_installed_packages_find_the_data_beside_them(tmp_path):
    """A wheel has the data folder as prunescope_data beside the packages."""
    shutil.copytree(ROOT / "solvers", tmp_path / "solvers", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from solvers import instances; print(instances.names(), instances.load('mini_vqa_003').tokens)"
    command = [sys.executable, "-P", "-c", code]
    options = {"env": {"PYTHONPATH": str(tmp_path), "NUMBA_DISABLE_JIT": "1"}, "capture_output": True, "text": True}
    bare = subprocess.run(command, check=False, **options)
    assert f"there is no folder of instances at {tmp_path / 'data' / 'instances'}" in bare.stderr
    (tmp_path / "prunescope_data" / "instances").mkdir(parents=True)
    source = ROOT / "data" / "instances" / "mini_vqa_003.safetensors"
    shutil.copy(source, tmp_path / "prunescope_data" / "instances")
    shown = subprocess.run(command, check=True, **options).stdout
    assert shown.strip() == "('mini_vqa_003',) 576"
