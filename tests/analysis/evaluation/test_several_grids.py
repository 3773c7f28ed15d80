"""Evaluation of families whose images differ in their visual tokens, against `generate` on each question alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from analysis.cost import cost
from analysis.cost.models import of_vlm
from analysis.evaluation import accuracy_table, critical_budget, evaluate, generating
from analysis.models import Vlm
from analysis.pruning import prune, pruners
from solvers.provenance import provenance

from .families import BUILT, HEIGHT_AND_WIDTH, RELATIVES, SEVERAL_GRIDS, SeveralSizes, vlm_of

STEPS = 4
QUIET: dict[str, Any] = {"max_new_tokens": STEPS, "progress": False}
SIZES = {"llava_next": (40, 64, 48), "qwen2_5_vl": (6, 20, 10), "mllama": (32, 64, 48)}
"""Visual tokens of each image, separators not counted."""
BETWEEN = {"llava_next": 45, "qwen2_5_vl": 8, "mllama": 40}
"""A number of tokens that the first image does not have."""

every_grid = pytest.mark.parametrize("family", SEVERAL_GRIDS)


def same(frame: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(frame.drop(columns=[*provenance()]), other.drop(columns=[*provenance()]))


def alone(vlm: Vlm, name: str, keep: float, **options: Any) -> list[str]:
    """Answers to the questions one by one; a number of tokens is capped at those of the image."""
    texts = []
    for sample, size in zip(SeveralSizes(), SIZES.get(vlm.id.removeprefix("tiny "), (99,) * 3), strict=True):
        for question in sample.questions:
            needed = [question.needed]
            with prune(vlm, name, min(keep, size) if keep >= 1 else keep, needed=needed, **options):
                texts.append(vlm.answer(sample.image, question.question, STEPS))
    return texts


@pytest.mark.parametrize(
    ("family", "name"),
    [
        (family, name)
        for family in SEVERAL_GRIDS
        for name in ("vispruner", "cdpruner", "random", "visionzip", "fastv")
        if (family, name) != ("mllama", "fastv")  # refused
    ],
)
def test_answers_are_those_of_generate_alone(family: str, name: str) -> None:
    vlm, seed = vlm_of(family), 3
    shares = evaluate(vlm, SeveralSizes(), [name], (0.3,), seeds=(seed,), **QUIET)
    numbers = evaluate(vlm, SeveralSizes(), [name], (5, BETWEEN[family]), seeds=(seed,), **QUIET)
    stock = [vlm.answer(s.image, q.question, STEPS) for s in SeveralSizes() for q in s.questions]
    assert shares.loc[shares["pruner"] == "none", "prediction"].tolist() == stock
    both = pd.concat([shares, numbers])
    for keep in (0.3, 5, BETWEEN[family]):
        rows = both[(both["pruner"] == name) & (both["keep"] == keep)]
        expected = alone(vlm, name, keep, seed=seed)
        assert rows["prediction"].tolist() == expected
        assert expected != stock or keep > 5


@pytest.mark.parametrize("how", [{"tiles": "together"}, {"separators": "keep"}])
def test_tiles_and_separators_are_those_of_prune(how: dict[str, str], tmp_path: Path) -> None:
    vlm = vlm_of("llava_next")
    plain = evaluate(vlm, SeveralSizes(), ["vispruner"], (5,), store=tmp_path, **QUIET)
    parts = set(tmp_path.rglob("*.parquet"))
    frame = evaluate(vlm, SeveralSizes(), ["vispruner"], (5,), store=tmp_path, **how, **QUIET)
    rows, before = (table[table["pruner"] == "vispruner"] for table in (frame, plain))
    assert rows["prediction"].tolist() == alone(vlm, "vispruner", 5, **how)
    assert rows["prediction"].tolist() != before["prediction"].tolist()
    assert rows[[*how]].drop_duplicates().to_dict("records") == [how]
    assert before["tiles"].eq("each").all()
    assert before["separators"].eq("drop").all()
    added = set(tmp_path.rglob("*.parquet")) - parts
    assert len(added) == 1, "the stock model's answers are shared"
    same(evaluate(vlm, SeveralSizes(), ["vispruner"], (5,), store=tmp_path, **QUIET), plain)
    with pytest.raises(ValueError, match="a question twice under one setting"):
        accuracy_table(pd.concat([frame, plain]))


@pytest.mark.parametrize(("option", "value"), [("tiles", "eech"), ("separators", "kept")])
def test_unknown_policies_are_named(option: str, value: str) -> None:
    with pytest.raises(KeyError, match=f"{option} policy"):
        evaluate(vlm_of("llava_next"), SeveralSizes(1), ["random"], (5,), **{option: value}, **QUIET)


@pytest.mark.parametrize("family", RELATIVES)
def test_relatives_are_answered_alike(family: str) -> None:
    vlm = vlm_of(family)
    frame = evaluate(vlm, SeveralSizes(), ["vispruner"], (0.3,), **QUIET)
    assert frame.loc[frame["pruner"] == "vispruner", "prediction"].tolist() == alone(vlm, "vispruner", 0.3)
    assert frame["n_visual"].tolist() == [SIZES["qwen2_5_vl"][image] for image in frame["image_id"]]
    assert frame["flops"].isna().all()


# The library's own processor of PaliGemma makes an array of a tensor.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
@pytest.mark.parametrize("family", sorted(set(BUILT) - {*SEVERAL_GRIDS, *RELATIVES}))
def test_other_families_are_answered_by_generate_too(family: str) -> None:
    vlm = vlm_of(family)
    frame = evaluate(vlm, SeveralSizes(), ["vispruner", "oracle"], (4,), **QUIET)
    for name in ("vispruner", "oracle"):
        assert frame.loc[frame["pruner"] == name, "prediction"].tolist() == alone(vlm, name, 4)
    n = vlm.adapter.tokens(vlm.model)
    assert frame["n_visual"].eq(n).all()
    assert frame.loc[frame["pruner"] == "none", "keep"].eq(n).all()


@every_grid
def test_rows_tell_the_tokens_of_every_image(family: str) -> None:
    vlm = vlm_of(family)
    keep = BETWEEN[family]
    frame = evaluate(vlm, SeveralSizes(), ["random"], (keep,), **QUIET)
    assert frame["n_visual"].tolist() == [SIZES[family][image] for image in frame["image_id"]]
    pruned, stock = (frame[frame["pruner"] == name].reset_index() for name in ("random", "none"))
    whole = pruned["n_visual"] <= keep
    assert 0 < whole.sum() < len(pruned)
    assert (pruned.loc[~whole, "kept"] == keep).all()
    assert pruned.loc[whole, "kept"].equals(stock.loc[whole, "kept"])
    assert (stock["kept"] >= stock["n_visual"]).all()  # with separators
    assert (pruned.loc[whole, "prediction"] == stock.loc[whole, "prediction"]).all()
    assert stock["keep"].eq(1).all()
    if family == "mllama":
        assert set(pruned.loc[~whole, "tokens_by_layer"]) == {f"1x0 1x{keep} 1x0 1x{keep} 1x0"}
        assert pruned.loc[~whole, "visual_tokens"].eq(keep * 2 / 5).all()
    table = accuracy_table(frame, resamples=10)
    assert table.loc[table["pruner"] == "random", "kept"].iloc[0] == pytest.approx(pruned["kept"].mean())


@pytest.mark.parametrize("family", ["llava_next", "qwen2_5_vl"])
def test_costs_are_those_of_the_image(family: str) -> None:
    vlm = vlm_of(family)
    frame = evaluate(vlm, SeveralSizes(), ["random", "fastv"], (0.5,), **QUIET)
    for row in frame.itertuples():
        shape = of_vlm(vlm, HEIGHT_AND_WIDTH[row.image_id])
        parts = [part.split("x") for part in row.tokens_by_layer.split()]
        layers = [int(tokens) for count, tokens in parts for _ in range(int(count))]
        counted = cost(shape, layers, row.n_text)
        assert (row.flops, row.kv_bytes) == (counted.flops, counted.kv_bytes)
    assert frame.groupby("image_id")["flops"].nunique().gt(1).all()


def test_what_is_not_counted_is_no_number() -> None:
    frame = evaluate(vlm_of("mllama"), SeveralSizes(1), [], **QUIET)
    assert frame[["flops", "kv_bytes"]].isna().all(axis=None)


def test_words_are_all_that_is_no_image() -> None:
    frame = evaluate(vlm_of("qwen2_5_vl"), SeveralSizes(2), [], **QUIET)
    words = {"w5 w6 w7": 3, "w8 w9": 2, "w10 w11 w12 w13": 4}
    assert frame["n_text"].tolist() == [words[text] + 2 for text in frame["question"]]  # <|vision_start|> and w7


def test_batches_hold_neighbours_and_respect_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    vlm, batches = vlm_of("qwen2_5_vl"), []
    expected = evaluate(vlm, SeveralSizes(), ["vispruner"], (0.5,), **QUIET)
    stock = Vlm.prepare

    def noted(self: Vlm, images: Any, questions: Any) -> Any:
        if isinstance(questions, list):
            batches.append(len(questions))
        return stock(self, images, questions)

    monkeypatch.setattr(Vlm, "prepare", noted)
    monkeypatch.setattr(generating, "TOKENS_PER_BATCH", 25)
    same(evaluate(vlm, SeveralSizes(), ["vispruner"], (0.5,), **QUIET), expected)
    assert batches == [2, 1, 1, 1, 1] * 2  # two questions about six tokens, three about twenty, one about ten
    batches.clear()
    monkeypatch.setattr(generating, "PROMPTS_PER_BATCH", 1)
    same(evaluate(vlm, SeveralSizes(), ["vispruner"], (0.5,), **QUIET), expected)
    assert batches == [1] * 12


@every_grid
def test_an_evaluation_goes_on_with_more_images_and_budgets(family: str, tmp_path: Path) -> None:
    vlm, task = vlm_of(family), SeveralSizes(18)
    first = evaluate(vlm, task, ["random"], (0.5,), store=tmp_path, images=17, **QUIET)
    parts = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert {path.name.split("-")[0] for path in parts} == {"share0.5", "share1.0"}
    whole = evaluate(vlm, task, ["random"], (0.5, 0.25), store=tmp_path, **QUIET)
    assert {path: path.stat().st_mtime_ns for path in parts} == parts
    same(whole, evaluate(vlm, task, ["random"], (0.5, 0.25), **QUIET))
    kept = whole[(whole["image_id"] < 17) & (whole["keep"] != 0.25)]
    same(kept.reset_index(drop=True), first)


def test_ground_truth_must_be_of_the_pictures_that_the_model_sees() -> None:
    class Gridded(SeveralSizes):
        needed_grid = (24, 24)

    with pytest.raises(ValueError, match=r"on a grid of \(24, 24\); this model has another for every size of image"):
        evaluate(vlm_of("qwen2_5_vl"), Gridded(), ["oracle"], (0.5,), **QUIET)
    with pytest.raises(ValueError, match="states for whole images; this model cuts image 0 into 3 pictures"):
        evaluate(vlm_of("llava_next"), SeveralSizes(), ["oracle"], (0.5,), **QUIET)
    frame = evaluate(vlm_of("qwen2_5_vl"), SeveralSizes(), ["oracle"], (5,), **QUIET)
    expected = alone(vlm_of("qwen2_5_vl"), "oracle", 5)
    assert frame.loc[frame["pruner"] == "oracle", "prediction"].tolist() == expected


def test_wrong_arguments_are_refused() -> None:
    vlm = vlm_of("qwen2_5_vl")
    for keep in (0, -3, 1.5, 1.0, "8"):
        with pytest.raises(ValueError, match=r"`keep` must be a number of at least 1 or a share in \(0, 1\), got "):
            evaluate(vlm, SeveralSizes(), ["random"], (keep,), **QUIET)
    with pytest.raises(ValueError, match=r"`keeps` must be numbers or shares, not both, where .* got \(8, 0\.5\)"):
        evaluate(vlm, SeveralSizes(), ["random"], (8, 0.5), **QUIET)
    with pytest.raises(ValueError, match=r"`keeps` must be a sequence of numbers, got 0\.5: write \(0\.5,\)"):
        evaluate(vlm, SeveralSizes(), ["random"], 0.5, **QUIET)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pruner 'fastv' works on visual tokens between the words of a prompt"):
        evaluate(vlm_of("mllama"), SeveralSizes(), ["random", "fastv"], (8,), **QUIET)
    with pytest.raises(ValueError, match="'compact'"):
        evaluate(vlm, SeveralSizes(), ["random"], (8,), position_ids="compact", **QUIET)


def test_a_refused_pruner_costs_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'fastv'"):
        evaluate(vlm_of("mllama"), SeveralSizes(), ["random", "fastv"], (8,), store=tmp_path, **QUIET)
    assert not list(tmp_path.rglob("*.parquet"))


def test_shares_of_a_fixed_grid_are_numbers(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> None:
    frame = evaluate(tiny_vlm, toy_task(2), ["random"], (0.25, 9, 4), **QUIET)
    assert frame.loc[frame["pruner"] == "random", "keep"].unique().tolist() == [9, 4]
    assert frame["keep"].dtype == np.int64
    assert frame["n_visual"].eq(36).all()


def test_the_critical_budget_is_a_share_too() -> None:
    rows = [
        {"model": "m", "pruner": name, "keep": keep, "position_ids": "keep", "seed": 0, "image_id": image,
         "question_id": image, "task": "t", "correct": image < right}
        for name, keep, right in (("none", 1.0, 8), ("p", 0.5, 8), ("p", 0.25, 4))
        for image in range(10)
    ]  # fmt: skip
    table = critical_budget(pd.DataFrame(rows), resamples=10)
    assert table["tested"].eq(0.5).all()
    assert table["interpolated"].between(0.25, 0.5).all()
    numbers = pd.DataFrame(rows).assign(keep=lambda frame: frame["keep"].replace({0.5: 50.0, 0.25: 25.0}))
    with pytest.raises(ValueError, match=r"budgets of m must be shares, since its images differ .* got 50"):
        critical_budget(numbers, resamples=10)


def test_the_same_tokens_at_other_positions_are_asked_again(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> None:
    @dataclass(frozen=True)
    class Gaps(pruners.UniformGrid):
        position_ids: ClassVar[str] = "keep"

    @dataclass(frozen=True)
    class NoGaps(pruners.UniformGrid):
        position_ids: ClassVar[str] = "compact"

    both = {"gaps": Gaps(), "none left": NoGaps()}
    frame = evaluate(tiny_vlm, toy_task(6), both, (6,), **QUIET)
    for name, policy in (("gaps", "keep"), ("none left", "compact")):
        rows = evaluate(tiny_vlm, toy_task(6), ["uniform_grid"], (6,), position_ids=policy, **QUIET)
        expected = rows.loc[rows["pruner"] == "uniform_grid", "prediction"].tolist()
        assert frame.loc[frame["pruner"] == name, "prediction"].tolist() == expected
    predictions = frame.groupby("pruner")["prediction"].agg(tuple)
    assert predictions["gaps"] != predictions["none left"]
