"""`prunescope cost` as a user types it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from analysis.cli import app
from analysis.cost import cost, dropped_after

RUN = CliRunner()


def prunescope(*arguments: str, width: int = 140):
    return RUN.invoke(app, ["cost", *arguments], env={"COLUMNS": str(width), "TERM": "dumb"})


def test_table_shows_every_part_and_convention() -> None:
    done = prunescope("llava-1.5-7b", "--keep", "64", "--text", "60")
    assert done.exit_code == 0, done.output
    for text in ("encoder", "projector", "selector (vispruner)", "prefill", "decode", "language-model head"):
        assert text in done.output
    for number in ("8.4496", "1.6141", "-77.1 %", "62.0 (-80.5 %)", "0.628"):
        assert number in done.output
    for convention in ("2 FLOPs per", "two MLP matrices", "not halved for causality", "latency does not follow"):
        assert convention in done.output


def test_without_a_budget_the_stock_model_is_shown() -> None:
    done = prunescope("qwen2.5-vl-7b")
    assert done.exit_code == 0
    assert "unpruned" in done.output
    assert "kept" not in done.output


def test_json_holds_what_the_library_counts() -> None:
    done = prunescope("llava-1.5-7b", "--keep", "64", "--keep", "32", "--new", "10", "--after", "2", "--json")
    content = json.loads(done.output)
    assert list(content["kept"]) == ["64", "32"]
    assert content["rule"] == "fastv"
    counted = cost("llava-1.5-7b", dropped_after(576, 32, 2, 32), 60, new=10, rule="fastv")
    kept = content["kept"]["32"]
    assert kept["visual_tokens_per_layer"] == [576] * 2 + [32] * 30
    assert (kept["flops"], kept["decode"], kept["kv_bytes"]) == (counted.flops, counted.decode, counted.kv_bytes)
    assert content["unpruned"]["reduction"] == 0
    assert content["sources"]


def test_layers_that_see_everything_are_shown() -> None:
    assert "2 x 576, 30 x 64" in prunescope("llava-1.5-7b", "--keep", "64", "--after", "2").output


def test_image_and_newlines() -> None:
    assert "2928 visual" in prunescope("llava-next-7b", "--unpad").output
    assert "864 visual" in prunescope("qwen2.5-vl-7b", "--image", "672x1008").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lava-1.5-7b"], "unknown model 'lava-1.5-7b'; did you mean 'llava-1.5-7b'?"),
        (["llava-1.5-7b", "--keep", "700"], "`keep` must be in [0, 576], got 700"),
        (["llava-1.5-7b", "--keep", "-1"], "`keep` must be in [0, 576], got -1"),
        (["llava-1.5-7b", "--keep", "64", "--after", "32"], "`after` must be in [0, 31], got 32"),
        (["llava-1.5-7b", "--rule", "divprun"], "unknown selector 'divprun'; did you mean 'divprune'?"),
        (["llava-1.5-7b", "--dtype", "float31"], "unknown number format 'float31'; did you mean 'float32'?"),
        (["qwen2.5-vl-7b", "--image", "672"], "`--image` must be height x width, for example 672x1008, got '672'"),
        (["qwen2.5-vl-7b", "--image", "0x9"], "`image` must be a height and a width of at least 1 pixel"),
        (["qwen2.5-vl-7b", "--image", "10x5000"], "absolute aspect ratio must be smaller than 200"),
    ],
)
def test_mistakes_are_explained(arguments: list[str], message: str) -> None:
    done = prunescope(*arguments)
    assert done.exit_code == 2
    assert message in done.output
    assert "Traceback" not in done.output
