"""Figures of measured time: drawn from what `benchmarks.latency` writes, with FLOPs that are counted and not timed."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import figures
from analysis.cost import cost
from analysis.figures import frames


@pytest.fixture
def drawings(
    accuracy_frame: pd.DataFrame, latency_frame: pd.DataFrame, large_latency_frame: pd.DataFrame
) -> dict[str, Callable[[], Figure]]:
    accuracy = accuracy_frame.replace({"pruner": {"VisPruner": "vispruner", "DivPrune": "divprune"}})
    device, work = figures.device_of(large_latency_frame), figures.counted(large_latency_frame)
    return {
        "accuracy_vs_latency": lambda: figures.accuracy_vs_latency(accuracy, latency_frame).figure,
        "flops_vs_latency": lambda: figures.flops_vs_latency(work).figure,
        "roofline": lambda: figures.roofline(figures.phases_of(large_latency_frame), device).figure,
    }


def marked(figure: Figure, panel: int) -> list[np.ndarray]:
    return [line.get_xydata() for line in figure.axes[panel].lines if line.get_marker() not in {"", "None"}]


def test_budgets_meet_as_shares_of_the_tokens_and_time_as_a_share_of_the_full_models(
    drawings: dict[str, Callable[[], Figure]], accuracy_frame: pd.DataFrame, latency_frame: pd.DataFrame
) -> None:
    figure = drawings["accuracy_vs_latency"]()
    assert [ax.get_title("left") for ax in figure.axes] == ["llava-1.5-7b", "llava-next-7b"]
    for panel, model in enumerate(("llava-1.5-7b", "llava-next-7b")):
        times = latency_frame[latency_frame["model"] == model].set_index(["pruner", "keep"])["total_ms"]
        full, of = times["none"].iloc[0], times["none"].index[0]
        expected = [
            [times[pruner.casefold(), round(keep / 576 * of)] / full, row.estimate]
            for pruner in ("VisPruner", "DivPrune")
            for keep in (192, 128, 64)
            for row in accuracy_frame.query(f"pruner == '{pruner}' and keep == {keep} and task == 'mean'").itertuples()
        ]
        # the tables have these two pruners in common; a reference line has no marker
        points = np.concatenate(marked(figure, panel)[:2])
        np.testing.assert_allclose(sorted(map(tuple, points)), sorted(map(tuple, expected)))


def test_failed_rows_are_left_out(accuracy_frame: pd.DataFrame, latency_frame: pd.DataFrame) -> None:
    accuracy = accuracy_frame.replace({"pruner": {"VisPruner": "vispruner"}})
    failed = latency_frame["pruner"] == "vispruner"
    latency = latency_frame.assign(note=np.where(failed, "fails: no room", ""))
    with pytest.raises(ValueError, match="must have pruners and budgets in common, got none"):
        figures.accuracy_vs_latency(accuracy, latency)


def test_flops_are_those_of_the_published_architecture(large_latency_frame: pd.DataFrame) -> None:
    table = figures.counted(large_latency_frame).set_index(["model", "pruner", "keep"])["first_token_flops"]
    assert table["llava-1.5-7b", "vispruner", 64] == cost("llava-1.5-7b", 64, 60, new=1).flops
    assert table["llava-1.5-7b", "fastv", 64] == cost("llava-1.5-7b", 136, 60, new=1).flops  # 576 / 8 + 64
    assert table["llava-next-7b", "none", 2880] > 1.01 * cost("llava-next-7b", None, 60, new=1).flops  # newlines


def test_time_above_the_diagonal_is_not_explained_by_flops(
    large_latency_frame: pd.DataFrame, drawings: dict[str, Callable[[], Figure]]
) -> None:
    figure = drawings["flops_vs_latency"]()
    rows = figures.counted(large_latency_frame).query("model == 'llava-1.5-7b'").set_index(["pruner", "keep"])
    stock = rows.loc[("none", 576)]
    expected = [
        (rows.loc[("vispruner", keep), "first_token_flops"] / stock["first_token_flops"],
         rows.loc[("vispruner", keep), "first_token_ms"] / stock["first_token_ms"])
        for keep in (64, 192)
    ]  # fmt: skip
    np.testing.assert_allclose(marked(figure, 0)[0], expected)
    assert all(ax.get_ylim()[1] > line[:, 1].max() for ax in figure.axes for line in marked(figure, 0))


def test_a_decoding_step_reads_every_weight_for_one_token(large_latency_frame: pd.DataFrame) -> None:
    phases = figures.phases_of(large_latency_frame)
    frames.PHASES.check(phases)
    step = phases[(phases["model"] == "llava-1.5-7b") & (phases["phase"] == "decode")].iloc[0]
    # Llama 2 7B has 6.74e9 parameters of two bytes, of which the 32000 x 4096 embeddings are not read
    weights = 2 * (6.74e9 - 32000 * 4096)
    cache = 2 * 32 * 4096 * 2 * (576 + 60 + 1)
    assert step["bytes"] == pytest.approx(weights + cache, rel=2e-3)
    assert step["flops"] / step["bytes"] == pytest.approx(1, abs=0.06)
    prefill = phases[phases["phase"] == "prefill"]
    assert (prefill["flops"] / prefill["bytes"]).between(90, 3500).all()


def test_the_roof_is_that_of_the_device_and_no_point_of_the_example_is_above_it(
    large_latency_frame: pd.DataFrame, drawings: dict[str, Callable[[], Figure]]
) -> None:
    figure = drawings["roofline"]()
    device = figures.device_of(large_latency_frame)
    assert (device.name, device.flops, device.bandwidth) == ("H200", 989e12, 4.8e12)
    for ax in figure.axes:
        roof = ax.lines[0].get_xydata()
        np.testing.assert_allclose(roof[1], [989 / 4.8, 989e12])
        np.testing.assert_allclose(roof[0, 1] / roof[0, 0], 4.8e12)
        points = np.concatenate([line.get_xydata() for line in ax.lines if line.get_marker() not in {"", "None"}])
        assert (points[:, 1] < np.minimum(points[:, 0] * 4.8e12, 989e12)).all()


def test_names_of_pruners_are_printed(drawings: dict[str, Callable[[], Figure]]) -> None:
    figure = drawings["flops_vs_latency"]()
    figure.draw_without_rendering()
    assert {"VisPruner", "DivPrune", "FastV"} <= {text.get_text() for text in figure.findobj(mpl.text.Text)}


@pytest.mark.parametrize(
    ("draw", "text"),
    [
        (lambda small, large: figures.counted(small), "llava-1.5-7b has 576 visual tokens, the table 36: it is of a"),
        (lambda small, large: figures.counted(large[1:]), "must have the row of the full model, pruner 'none', for"),
        (lambda small, large: figures.flops_vs_latency(large), "`work` must have the columns .* first_token_flops"),
        (lambda small, large: figures.device_of(small), "`device` must be one of H200, .*, got cpu"),
        (lambda small, large: figures.device_of(large.drop(columns="device")), "`device` must be one of .*, got none"),
        (
            lambda small, large: figures.roofline(
                figures.phases_of(large).replace("decode", "train"), figures.device_of(large)
            ),
            "`phase` must be prefill or decode, got train",
        ),
        (
            lambda small, large: figures.roofline(
                figures.phases_of(large).assign(seconds=0.0), figures.device_of(large)
            ),
            "`flops`, `bytes` and `seconds` must be finite and above 0",
        ),
    ],
)
def test_tables_of_something_else_are_refused(
    draw: Callable[[pd.DataFrame, pd.DataFrame], object],
    text: str,
    latency_frame: pd.DataFrame,
    large_latency_frame: pd.DataFrame,
) -> None:
    with pytest.raises(ValueError, match=text):
        draw(latency_frame, large_latency_frame)


def test_wrong_choices_are_refused(accuracy_frame: pd.DataFrame, latency_frame: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="`time` must be one of first_token_ms, total_ms, got 'prefill_ms'"):
        figures.accuracy_vs_latency(accuracy_frame, latency_frame, time="prefill_ms")
    with pytest.raises(ValueError, match="`accuracy` must have the row of the full model, pruner 'none'"):
        figures.accuracy_vs_latency(accuracy_frame[accuracy_frame["pruner"] != "none"], latency_frame)
    unknown = latency_frame.replace({"model": {"llava-1.5-7b": "lava-1.5-7b"}})
    with pytest.raises(ValueError, match=r"did you mean 'llava-1\.5-7b'"):
        figures.counted(unknown)
