"""The published figures are complete, documented, unchanged, and agree with what must hold for them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

DATA = Path(__file__).parents[1] / "data"
PUBLISHED = DATA / "published"

COLUMNS = {
    "accuracy": "source model tokens_total tokens_kept method benchmark value unit note",
    "efficiency": "source model tokens_total tokens_kept method benchmark hardware metric value unit note",
    "attention_shift_quartiles": "source model attention layer quartile value unit note",
    "keep_quartile_accuracy": "source model layer_K quartile_kept value unit note",
    "dispersion_curves": "source model attention llm_layer_index top_percent_of_tokens value unit note",
    "flops_reference": "source model visual_tokens text_tokens counted value unit note",
}
NEVER_EMPTY = {
    "accuracy": "source method benchmark value unit",
    "efficiency": "source metric value unit",
    "attention_shift_quartiles": "source model attention layer quartile value unit note",
    "keep_quartile_accuracy": "source model quartile_kept value unit note",
    "dispersion_curves": "source model attention top_percent_of_tokens value unit note",
    "flops_reference": "source model visual_tokens text_tokens counted value unit",
}
LABELS = {
    "accuracy": "source model method benchmark unit",
    "efficiency": "source model method benchmark metric unit",
    "attention_shift_quartiles": "source model attention unit",
    "keep_quartile_accuracy": "source model unit",
    "dispersion_curves": "source model attention unit",
    "flops_reference": "source model counted unit",
}
# Llama-7B, the language model of LLaVA-1.5-7B and LLaVA-NeXT-7B.
LAYERS, WIDTH, MLP_WIDTH = 32, 4096, 11008


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(PUBLISHED / f"{name}.csv")


@pytest.fixture(scope="module")
def codebook() -> str:
    return (PUBLISHED / "README.md").read_text(encoding="utf-8")


def test_every_file_has_a_schema_here() -> None:
    assert {path.stem for path in PUBLISHED.glob("*.csv")} == set(COLUMNS)


@pytest.mark.parametrize("name", COLUMNS)
def test_schema(name: str) -> None:
    frame = table(name)
    assert list(frame.columns) == COLUMNS[name].split()
    empty = frame[NEVER_EMPTY[name].split()].isna().sum()
    assert not empty.any(), f"{name}.csv has empty cells:\n{empty[empty > 0]}"
    assert np.isfinite(frame["value"]).all()


@pytest.mark.parametrize("name", COLUMNS)
def test_no_row_is_given_twice(name: str) -> None:
    assert not table(name).duplicated().any()


@pytest.mark.parametrize("name", COLUMNS)
def test_every_label_and_source_is_in_the_readme(name: str, codebook: str) -> None:
    frame = table(name)
    for column in LABELS[name].split():
        for label in frame[column].dropna().unique():
            assert f"`{label}`" in codebook, f"{name}.csv: {column} {label!r} is not in the README"


def test_readme_lists_no_source_that_is_gone(codebook: str) -> None:
    listed = set(re.findall(r"^- `(.+?)`: ", codebook, flags=re.MULTILINE))
    assert listed == {source for name in COLUMNS for source in table(name)["source"]}


def test_reservations_are_where_the_readme_says(codebook: str) -> None:
    notes = pd.concat([table(name)["note"].dropna() for name in COLUMNS])
    words = re.findall(r"^\| `([a-z -]+)` \|", codebook, flags=re.MULTILINE)
    assert len(words) == 5
    for word in words:
        assert notes.str.contains(word, regex=False).any(), f"no note says {word!r}"


@pytest.mark.parametrize("name", ["attention_shift_quartiles", "dispersion_curves", "keep_quartile_accuracy"])
def test_digitised_rows_say_so(name: str) -> None:
    note = table(name)["note"]
    printed = note == "no pruning"
    assert note[~printed].str.startswith("digitised").all()


def test_an_unnamed_model_is_explained() -> None:
    frame = table("accuracy")
    assert frame.loc[frame["model"].isna(), "note"].str.contains("model").all()


@pytest.mark.parametrize("name", ["accuracy", "efficiency"])
def test_token_counts(name: str) -> None:
    frame = table(name)
    known = frame.dropna(subset=["tokens_total", "tokens_kept"])
    assert (known["tokens_kept"] <= known["tokens_total"]).all()
    assert (known.loc[known["method"] == "none", "tokens_kept"] > 0).all()
    assert (frame.loc[frame["method"] == "no visual tokens", "tokens_kept"] == 0).all()


def test_accuracies_are_percentages() -> None:
    frame = table("accuracy")
    share = frame.loc[frame["unit"].isin(["accuracy_%", "F1_%", "%"]), "value"]
    assert share.between(0, 100).all()


def test_quartile_shares_of_a_layer_sum_to_one() -> None:
    frame = table("attention_shift_quartiles")
    assert set(frame["layer"]) == set(range(LAYERS))
    total = frame.groupby("layer")["value"].sum()
    assert total.between(96, 104).all(), "four readings, each within 1 percentage point"


def test_dispersion_curves_are_concave_and_rising() -> None:
    frame = table("dispersion_curves")
    for key, curve in frame.groupby(["source", "attention"]):
        share = curve.sort_values("top_percent_of_tokens")
        percent, value = share["top_percent_of_tokens"].to_numpy(), share["value"].to_numpy()
        assert (np.diff(value) > 0).all(), key
        # Tokens are added in descending attention, so the slope falls; a reading is off by half a point.
        slope = np.diff(value) / np.diff(percent)
        assert (np.diff(slope) <= 1 / np.diff(percent)[1:] + 1 / np.diff(percent)[:-1]).all(), key


def llm_tera_flops(tokens: np.ndarray) -> np.ndarray:
    """Operations of n tokens: projections 4nd^2, attention 2n^2d, gated MLP 3ndm per layer, two per MAC.

    Fitted to the tables of FasterVLM (arXiv 2412.01818v1): no source prints the formula.
    """
    n = tokens.astype(np.float64)
    macs = 4 * n * WIDTH**2 + 2 * n**2 * WIDTH + 3 * n * WIDTH * MLP_WIDTH
    return 2 * LAYERS * macs / 1e12


def test_flops_reference_follows_the_formula() -> None:
    frame = table("flops_reference").query("counted == 'LLM' and source == 'derived formula'")
    flops = frame[frame["unit"] == "TFLOP (2 per MAC)"]
    assert len(flops) > 10
    tokens = (flops["visual_tokens"] + flops["text_tokens"]).to_numpy()
    np.testing.assert_allclose(flops["value"], llm_tera_flops(tokens), atol=0.006, rtol=2e-3)


def test_kv_cache_reference_follows_the_formula() -> None:
    cache = table("flops_reference").query("counted == 'KV cache' and unit == 'MiB'")
    assert len(cache) > 5
    tokens = cache["visual_tokens"] + cache["text_tokens"]
    bytes_per_token = 2 * LAYERS * WIDTH * 2  # keys and values in 16 bits
    np.testing.assert_allclose(cache["value"], tokens * bytes_per_token / 2**20, rtol=1e-9)


def test_files_match_their_checksums() -> None:
    rows = re.findall(
        r"^\| `(\w+\.csv)` \| (\d+) \| (\d+) \| `([0-9a-f]{64})` \|$",
        (DATA / "README.md").read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    assert {name for name, *_ in rows} == {f"{name}.csv" for name in COLUMNS}
    for name, count, size, digest in rows:
        content = (PUBLISHED / name).read_bytes()
        assert len(pd.read_csv(PUBLISHED / name)) == int(count)
        assert (len(content), hashlib.sha256(content).hexdigest()) == (int(size), digest), name
