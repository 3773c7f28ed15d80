"""The benchmark of recording attention at small sizes: what it measures, not how fast this machine is."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from benchmarks.capture import EAGER, SDPA, measure, passes, peak_bytes, shown, table, wide_model


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    model = wide_model(layers=1, width=64)
    ids = torch.full((1, 576 + 10), 5)
    ids[:, 2 : 2 + 576] = model.config.image_token_id
    inputs = {"input_ids": ids, "pixel_values": torch.randn(1, 3, 336, 336), "attention_mask": torch.ones_like(ids)}
    return table([row for work in passes(inputs) for row in measure("tiny", model, work, 1)])


def test_every_variant_is_compared_with_sdpa_and_eager(frame: pd.DataFrame) -> None:
    assert frame.groupby("pass").size().to_dict() == {"encoder": 5, "whole model": 4}
    assert (frame["cpu_ms"] > 0).all()
    assert (frame.loc[frame["variant"] == SDPA, ["times_sdpa", "extra_mb"]] == [1, 0]).all(axis=None)
    assert (frame.loc[frame["variant"] == EAGER, "of_eager"] == 1).all()
    judged = frame[frame["target_time"] != ""]
    assert judged["verdict"].str.match("pass|missed: ").all()
    assert {"torch", "commit", "cpu", "load", "threads"} <= set(frame)
    assert shown(frame).row_count == 9


def test_memory_is_that_of_the_maps(frame: pd.DataFrame) -> None:
    # eager attention returns a map of 577 x 577 numbers of four bytes; rows are two orders below
    encoder = frame[frame["pass"] == "encoder"].set_index("variant")
    assert encoder.loc[EAGER, "extra_mb"] > 0.99 * 577**2 * 4 / 2**20
    assert encoder.loc["CLS rows", "of_eager"] < 0.05


def test_peak_counts_what_is_alive_at_one_time() -> None:
    def one_after_the_other() -> None:
        for _ in range(3):
            torch.zeros(1000, 1000)

    assert peak_bytes(one_after_the_other) == 4_000_000
    assert peak_bytes(lambda: [torch.zeros(1000, 1000) for _ in range(3)]) == 12_000_000
