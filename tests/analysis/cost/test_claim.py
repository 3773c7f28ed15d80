"""Where 91 % and 75 % hold."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.cost import claim_table, published_latency_reduction
from analysis.cost.claim import LATENCY_CLAIM, settings

PUBLISHED = Path(__file__).parents[3] / "data" / "published" / "efficiency.csv"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return claim_table()


def row(table: pd.DataFrame, model: str, counted: str, text: int, keep: int) -> pd.Series:
    found = table[
        (table["model"] == model)
        & table["counted"].str.startswith(counted)
        & (table["text"] == text)
        & (table["keep"] == keep)
    ]
    assert len(found) == 1
    return found.iloc[0]


@pytest.mark.parametrize(
    ("model", "counted", "text", "keep", "percent", "holds"),
    [
        ("llava-next-7b", "encoder, one", 0, 145, 91.3, True),
        ("llava-next-7b", "encoder, one", 0, 160, 90.8, False),
        ("llava-1.5-7b", "encoder, one", 0, 64, 84.9, False),
        ("llava-1.5-7b", "language", 0, 64, 89.1, False),
        ("llava-1.5-7b", "language", 0, 32, 94.6, True),
        ("llava-1.5-7b", "language", 20, 32, 91.5, True),
        ("llava-1.5-7b", "language", 60, 64, 80.9, False),
        ("llava-1.5-7b", "language", 60, 32, 85.8, False),
        ("llava-1.5-7b", "encoder, projector", 60, 64, 77.2, False),
        ("llava-1.5-7b", "encoder, projector", 60, 32, 81.9, False),
    ],
)
def test_reductions(table, model: str, counted: str, text: int, keep: int, percent: float, holds: bool) -> None:
    found = row(table, model, counted, text, keep)
    assert 100 * found["reduction"] == pytest.approx(percent, abs=0.06)
    assert found["holds"] == holds


def test_with_sixty_text_tokens_no_budget_is_enough(table) -> None:
    assert row(table, "llava-1.5-7b", "language", 60, 64)["largest_keep"] is pd.NA
    languages = [entry for entry in settings() if entry.counted == "language model" and entry.text == 60]
    assert 100 * languages[0].reduction(0) == pytest.approx(90.8, abs=0.05)


def test_largest_budget_is_the_last_that_holds() -> None:
    for entry in settings():
        keep = entry.largest_keep(0.91)
        if keep is not None:
            assert entry.reduction(keep) >= 0.91 > entry.reduction(keep + 1)


def test_latency_is_that_of_the_published_table() -> None:
    published = pd.read_csv(PUBLISHED)
    times = published[
        published["source"].str.contains("FasterVLM@8494094")
        & (published["metric"] == "CUDA time")
        & published["tokens_kept"].isin([145, 2880])
        & published["method"].isin(["none", "FasterVLM (FlashAttention)"])
    ].set_index("tokens_kept")["value"]
    assert published_latency_reduction() == pytest.approx(1 - times[145] / times[2880], abs=1e-12)
    assert published_latency_reduction() >= LATENCY_CLAIM
