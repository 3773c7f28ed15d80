"""Frames in the shape the study hands over, with numbers of the size that the embedded model shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

PRUNERS = {
    "VisPruner": 0.82, "FasterVLM": 0.74, "FoPruRank": 0.71, "FoPruRows": 0.60, "GreedyPrune": 0.80, "DivPrune": 0.79,
    "CDPruner": 0.81, "Greedy+FacilityLocation": 0.83, "Random": 0.56, "UniformGrid": 0.61, "Oracle": 0.86,
}  # fmt: skip
TASKS = ("exist_random", "exist_popular", "exist_adversarial", "attribute", "count", "spatial", "text", "tiny")
KEEPS = (192, 128, 64, 32)


@pytest.fixture
def attention_frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    uniform = {"entropy": np.log(576), "effective_tokens": 576.0, "gini": 0.0, "top_mass": 0.1}
    rows = []
    for source, layers, level in (("vision CLS", 8, 0.45), ("text last token", 6, 0.75)):
        for layer in range(1, layers + 1):
            evenness = float(np.clip(level + 0.3 * np.cos(layer) + rng.normal(0, 0.02), 0.05, 0.97))
            values = {
                "entropy": np.log(576) * evenness, "effective_tokens": 576**evenness, "gini": 1 - evenness,
                "top_mass": 0.1 + 0.8 * (1 - evenness),
            }  # fmt: skip
            for metric, value in values.items():
                rows.append((source, layer, metric, value, 0.96 * value, 1.04 * value, uniform[metric]))
    return pd.DataFrame(rows, columns=["source", "layer", "metric", "estimate", "low", "high", "uniform"])


@pytest.fixture
def quartile_frame() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for source, layers in (("vision CLS", 8), ("text last token", 6)):
        for layer in range(1, layers + 1):
            for quartile, share in enumerate(rng.dirichlet([40, 45, 42, 38]), start=1):
                rows.append((source, layer, quartile, share, share - 0.015, share + 0.015))
    return pd.DataFrame(rows, columns=["source", "layer", "quartile", "estimate", "low", "high"])


@pytest.fixture
def selection_frame() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    solvers = {
        "Exact": ("exact", 0.0), "Greedy": ("solver", 0.002), "LazyGreedy": ("solver", 0.002),
        "DppMap": ("solver", 0.05),
        "KDpp": ("solver", 0.07), "vispruner": ("rule", 0.06), "fastervlm": ("rule", 0.2), "fopru_rank": ("rule", 0.21),
        "fopru_rows": ("rule", 0.33), "divprune": ("rule", 0.04), "cdpruner": ("rule", 0.05),
        "greedyprune": ("rule", 0.11),
        "TopK": ("baseline", 0.2), "Random": ("baseline", 0.12), "UniformGrid": ("baseline", 0.10),
    }  # fmt: skip
    rows = []
    for objective, factor in (("FacilityLocation", 1.0), ("LogDet", 3.0), ("MaxMin", 9.0)):
        for solver, (kind, gap) in solvers.items():
            if solver == "Exact" and objective == "LogDet":
                continue
            for keep in KEEPS:
                g = np.inf if objective == "MaxMin" and kind == "baseline" else gap * factor * rng.uniform(0.8, 1.2)
                rows.append((solver, kind, objective, keep, 1 / (1 + g), g, 0.8 * g, 1.2 * g, 10 ** rng.uniform(-4, 0)))
    columns = ["solver", "kind", "objective", "keep", "value", "gap", "low", "high", "seconds"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture
def accuracy_frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    rows = [
        ("none", 576, task, v, v - 0.012, v + 0.012) for task, v in zip(TASKS, rng.uniform(0.75, 0.98, 8), strict=True)
    ]
    rows.append(("none", 576, "mean", 0.868, 0.862, 0.874))
    for pruner, at_64 in PRUNERS.items():
        for place, keep in enumerate(KEEPS):
            mean = 0.868 - (0.868 - at_64) * (0.35, 0.6, 1.0, 1.7)[place]
            for task in TASKS:
                value = float(np.clip(mean + rng.normal(0, 0.08), 0.02, 0.97))
                rows.append((pruner, keep, task, value, value - 0.02, value + 0.02))
            rows.append((pruner, keep, "mean", mean, mean - 0.011, mean + 0.011))
    return pd.DataFrame(rows, columns=["pruner", "keep", "task", "estimate", "low", "high"])


@pytest.fixture
def cost_frame() -> pd.DataFrame:
    rows = [("none", 576, 1.0, 1.0)]
    for pruner in PRUNERS:
        selector = 0.02 if pruner in {"GreedyPrune", "CDPruner"} else 0.0
        rows += [(pruner, keep, (keep + 190) / 766 + selector, (keep + 12) / 588) for keep in KEEPS]
    return pd.DataFrame(rows, columns=["pruner", "keep", "flops_ratio", "kv_ratio"])


@pytest.fixture
def score_frame() -> pd.DataFrame:
    at_64 = {"cls": 0.94, "last_2": 0.93, "equi_4": 0.90, "random": 0.57, "oracle": 0.985}
    rows = [(score, keep, value + 0.2 * (0.99 - value) * (keep > 64)) for score, value in at_64.items()
            for keep in (192, 64)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["score", "keep", "estimate"])
    return frame.assign(low=frame["estimate"] - 0.015, high=frame["estimate"] + 0.01)


@pytest.fixture
def latency_frame() -> pd.DataFrame:
    """What `python -m benchmarks.latency --small --samples 1 --new 3` wrote on a processor, without its provenance."""
    return pd.read_csv(Path(__file__).with_name("latency_of_small_models.csv"))


@pytest.fixture(scope="session")
def large_latency_frame() -> pd.DataFrame:
    """The same columns for models of published size; the times are made up."""
    rows = []
    for model, of, visual in (("llava-1.5-7b", 576, 576.0), ("llava-next-7b", 2880, 2928.0)):
        rows.append((model, "none", of, of, visual, 20 + visual / 20, 9.0))
        for pruner, choosing in (("vispruner", 9.0), ("divprune", 3.0), ("fastv", 2.0)):
            for share in (9, 3):
                seen = visual / 8 + of / share if pruner == "fastv" else of / share
                rows.append((model, pruner, of // share, of, seen, 22 + choosing + seen / 20, 8.5))
    frame = pd.DataFrame(rows, columns=["model", "pruner", "keep", "of", "visual", "prefill_ms", "decode_ms"])
    return frame.assign(
        words=60, new=8, note="", device="NVIDIA H200", first_token_ms=frame["prefill_ms"] + 15,
        total_ms=frame["prefill_ms"] + 15 + 7 * frame["decode_ms"],
    )  # fmt: skip


@pytest.fixture
def picture() -> Image.Image:
    """A textured background with three flat shapes, 192 px."""
    rng = np.random.default_rng(4)
    pixels = rng.integers(110, 150, (192, 192, 3)).astype(np.uint8)
    pixels[30:58, 20:50] = (200, 40, 40)
    pixels[100:124, 120:150] = (40, 80, 200)
    pixels[150:170, 30:56] = (240, 220, 40)
    return Image.fromarray(pixels)
