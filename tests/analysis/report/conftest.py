"""A small report with numbers that can be followed by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.report import ExplorerImage, ExplorerQuestion, OutputFile, Reply, ReportInput, Stage

INTERVAL = ["estimate", "low", "high"]


def accuracy() -> pd.DataFrame:
    means = {"VisPruner": (0.8, 0.7), "DivPrune": (0.75, 0.72), "Oracle": (0.9, 0.9), "random": (0.5, 0.3)}
    rows = [("none", 16, task, 0.9, 0.88, 0.92) for task in ("text", "count", "mean")]
    for pruner, values in means.items():
        for keep, value in zip((8, 4), values, strict=True):
            rows += [(pruner, keep, task, value + shift, value - 0.02, value + 0.02)
                     for task, shift in (("text", -0.1), ("count", 0.1), ("mean", 0.0))]  # fmt: skip
    return pd.DataFrame(rows, columns=["pruner", "keep", "task", *INTERVAL])


def differences() -> pd.DataFrame:
    rows = [("none", "VisPruner", 8, -0.1, -0.15, -0.05, 0.01), ("none", "VisPruner", 4, 0.0, -0.1, 0.1, 1.0),
            ("none", "DivPrune", 4, 0.02, -0.1, 0.1, 0.9), ("random", "VisPruner", 4, 0.3, 0.2, 0.4, 1e-3)]  # fmt: skip
    return pd.DataFrame(rows, columns=["against", "pruner", "keep", "difference", "low", "high", "p_corrected"])


def build(**changes: Any) -> ReportInput:
    selection = [
        ("Exact", "exact", "FacilityLocation", 4, 1.0, 0.0, 0.0, 0.0, 0.5),
        ("Greedy", "solver", "FacilityLocation", 4, 0.99, 0.0101, 0.008, 0.012, 0.002),
        ("vispruner", "rule", "FacilityLocation", 4, 0.9, 0.111, 0.09, 0.13, 1e-4),
        ("Greedy", "solver", "MaxMin", 4, 0.25, np.inf, np.nan, np.nan, 0.001),
        ("vispruner", "rule", "MaxMin", 4, np.nan, np.nan, np.nan, np.nan, np.nan),
    ]
    attention = [("vision CLS", 3, "effective_tokens", 4.0, 3.5, 4.5, 16.0),
                 ("text last token", 2, "effective_tokens", 9.0, 8.0, 10.0, 16.0)]  # fmt: skip
    question = ExplorerQuestion(
        "is there a red circle ?", "yes", "exist", {("VisPruner", 4): [0, 1, 5, 15], ("random", 4): [2, 3, 4, 9]},
        {("VisPruner", 4): Reply("yes", True), ("none", 16): Reply("yes", True)}, needed=[5],
    )  # fmt: skip
    content = ReportInput(
        model="data/mini_llava",
        command="prunescope study --out out",
        provenance={"config_hash": "abc", "seed": 0},
        stages=[Stage("capture", 61.0, "4 images"), Stage("metrics", 0.5)],
        attention=pd.DataFrame(attention, columns=["source", "layer", "metric", *INTERVAL, "uniform"]),
        quartiles=pd.DataFrame(
            [("vision CLS", 3, q, 0.25, 0.2, 0.3) for q in (1, 2, 3, 4)],
            columns=["source", "layer", "quartile", *INTERVAL],
        ),
        selection=pd.DataFrame(
            selection,
            columns=["solver", "kind", "objective", "keep", "value", "gap", "low", "high", "seconds"],
        ),
        accuracy=accuracy(),
        cost=pd.DataFrame(
            [("VisPruner", 8, 0.6, 0.5), ("VisPruner", 4, 0.4, 0.25)],
            columns=["pruner", "keep", "flops_ratio", "kv_ratio"],
        ),
        differences=differences(),
        explorer=[ExplorerImage("image 7", Image.new("RGB", (32, 32), (200, 30, 30)), (4, 4), [question])],
        files=[OutputFile("accuracy.parquet", "a row per question")],
    )
    return dataclasses.replace(content, **changes)


@pytest.fixture
def report_input() -> Callable[..., ReportInput]:
    """Builds a `ReportInput`; keyword arguments replace its fields."""
    return build


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "figure.png"
    Image.new("RGB", (690, 300), "white").save(path, dpi=(100, 100))
    return path


EVIL = "<img src=x onerror=window.pwned=1></script><script>window.pwned=1</script>\"'&amp;"


def explored() -> list[ExplorerImage]:
    """Two pictures of 4 x 4 tokens with what VisPruner, random and FastV keep at 8 and 4; numbers chosen by hand."""
    rising = np.arange(1.0, 17.0) / 136
    first = ExplorerQuestion(
        "is there a red circle ?", "yes", "exist",
        kept={("VisPruner", 8): range(8), ("VisPruner", 4): [0, 1, 5, 15], ("random", 8): range(4, 12),
              ("random", 4): [1, 3, 4, 9], ("fastv", 4): [0, 2, 5, 15]},
        replies={("none", 16): Reply("yes", True), ("VisPruner", 4): Reply("Yes.", True),
                 ("random", 4): Reply("yes", False), ("VisPruner", 8): Reply("", False)},
        needed=[5, 6],
        attention={("text last token", layer): np.roll(rising, layer) for layer in (1, 2, 3)},
        stages={("fastv", 4): {2: range(8), 3: [0, 2, 5, 15]}},
    )  # fmt: skip
    second = ExplorerQuestion(EVIL, EVIL, EVIL, kept={("VisPruner", 4): [2, 3, 4, 6]},
                              replies={("VisPruner", 4): Reply(EVIL, False)})  # fmt: skip
    other = ExplorerQuestion("what colour ?", "blue", "attribute", kept={("VisPruner", 4): [12, 13, 14, 15]})
    return [
        ExplorerImage("image 7", Image.new("RGB", (32, 32), (220, 20, 20)), (4, 4), [first, second],
                      {("vision CLS", 1): rising[::-1]}),
        ExplorerImage(EVIL, Image.new("RGB", (32, 32), (20, 20, 220)), (4, 4), [other]),
    ]  # fmt: skip


@pytest.fixture(scope="session")
def evil() -> str:
    """Text that would run if it were markup."""
    return EVIL


@pytest.fixture(scope="session")
def explored_images() -> list[ExplorerImage]:
    return explored()


@pytest.fixture(scope="session")
def rich_input() -> ReportInput:
    """Everything that a page can have."""
    return build(explorer=explored(), warnings=["few images"])
