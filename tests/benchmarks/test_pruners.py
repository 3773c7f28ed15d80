"""The benchmark of the pruners at small sizes: what it measures, not how fast this machine is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.models import Vlm, load
from analysis.pruning import PRUNERS, AbstractPruner, VisualTokens, prune, pruner
from analysis.pruning.pruners import VisPruner
from benchmarks import pruners as benchmark
from benchmarks.capture import EMBEDDED
from benchmarks.pictures import LLAVA_7B, Shapes, asked_samples, chosen, made_up, seen_by
from benchmarks.pruners import LOOPS, QUICK, Size, estimated, measure, shown, table, where
from benchmarks.stock_prefill import stock_prefill
from benchmarks.vispruner_loop import vispruner_loop

SMALL = Shapes(side=10, dim=24, hidden=32, words=5)
MEASURED = ("vispruner", "prumerge", "tome", "fastv")


@pytest.fixture(scope="module")
def embedded() -> Vlm:
    return load(EMBEDDED)


@pytest.fixture(scope="module")
def question(embedded: Vlm) -> dict[str, Any]:
    sample = asked_samples(1)[0]
    return dict(embedded.prepare(sample.image, sample.questions[0].question))


@pytest.fixture(scope="module")
def rows(embedded: Vlm) -> pd.DataFrame:
    size = Size(SMALL, keeps=(64,), images=2, samples=1, judged=False)
    return table([row for part in measure(size, embedded, [pruner(name) for name in MEASURED]) for row in part])


def test_every_pruner_has_its_rows(rows: pd.DataFrame) -> None:
    choices, forwards = rows[rows["work"] == "choice"], rows[rows["work"] == "forward"]
    for name in ("vispruner", "prumerge"):
        assert choices.loc[choices["pruner"] == name, "images"].tolist() == [1, 2, 1, 2]
    assert set(choices["pruner"]) == {"vispruner", "prumerge"}
    assert forwards["pruner"].tolist() == list(MEASURED)
    assert forwards["where"].tolist() == ["before LM", "before LM", "in encoder", "inside LM"]
    assert forwards["visual"].tolist() == [*3 * ["64 64 64 64 64 64"], "576 576 64 64 64 64"]
    assert (rows[["cpu_ms", "samples"]] > 0).all(axis=None)
    assert not rows["verdict"].any()
    assert {"commit", "cpu", "torch", "threads", "load"} <= set(rows)
    assert shown(rows).row_count == len(rows)


def test_what_is_added_is_a_share_of_what_it_prepares(rows: pd.DataFrame) -> None:
    known = rows.dropna(subset="prefill_ms")
    assert len(known) == len(rows) - 4  # no model has the shapes of these made-up tokens
    np.testing.assert_allclose(known["share"], known["added_ms"] / known["prefill_ms"], rtol=1e-6)
    forwards = rows[rows["work"] == "forward"]
    np.testing.assert_allclose(forwards["added_ms"], forwards["cpu_ms"] - forwards["prefill_ms"], rtol=1e-6)
    assert known["prefill_is"].str.startswith("measured").all()


def test_vispruner_stands_beside_its_loop_with_the_same_picks(rows: pd.DataFrame) -> None:
    beside = rows[(rows["pruner"] == "vispruner") & (rows["work"] == "choice")]
    assert beside["same_picks"].eq("yes").all()
    np.testing.assert_allclose(beside["ratio"], beside["loop_ms"] / beside["cpu_ms"], rtol=1e-6)
    assert rows.drop(beside.index)["ratio"].isna().all()


@pytest.mark.parametrize("keep", [16, 32, 64, 96])
@pytest.mark.parametrize("seed", range(3))
def test_loop_of_the_reference_picks_as_the_rule_does(keep: int, seed: int) -> None:
    tokens = made_up(Shapes(side=16, dim=24, hidden=32), seed)
    np.testing.assert_array_equal(vispruner_loop(tokens, keep), VisPruner().select(tokens, keep))


def test_being_faster_with_other_picks_does_not_pass(monkeypatch: pytest.MonkeyPatch, embedded: Vlm) -> None:
    def other(tokens: VisualTokens, keep: int) -> np.ndarray:
        return np.arange(keep)

    monkeypatch.setitem(LOOPS, VisPruner, other)
    part = next(measure(Size(SMALL, keeps=(20,), images=1, samples=1), embedded, [VisPruner()]))
    assert (part[0]["same_picks"], part[0]["verdict"]) == ("no", "picks differ")


def test_target_is_judged_at_the_full_size_only(embedded: Vlm) -> None:
    size = Size(SMALL, keeps=(20,), images=1, samples=1)
    judged = next(measure(size, embedded, [VisPruner()]))
    assert judged[0]["target"] == "ratio >= 3"
    assert judged[0]["verdict"] in ("pass", "below")
    assert not QUICK.judged
    assert Size().shapes == LLAVA_7B


def test_stock_layers_are_the_stock_model_to_the_bit(embedded: Vlm, question: dict[str, Any]) -> None:
    with torch.no_grad():
        whole = embedded.model(**question, use_cache=False, logits_to_keep=1).logits[0, -1]
    assert torch.equal(stock_prefill(embedded, question, [576] * 6), whole)


def test_stock_layers_are_the_pruned_model_to_the_bit(embedded: Vlm, question: dict[str, Any]) -> None:
    def first(projected: np.ndarray, keep: int) -> np.ndarray:
        return np.arange(keep)

    with prune(embedded, first, keep=64, position_ids="keep"), torch.no_grad():
        pruned = embedded.model(**question, use_cache=False, logits_to_keep=1).logits[0, -1]
    assert torch.equal(stock_prefill(embedded, question, [64] * 6), pruned)


def test_stock_layers_shorten_between_layers(embedded: Vlm, question: dict[str, Any]) -> None:
    seen: list[int] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
        for layer in embedded.adapter.text_layers(embedded.model)
    ]
    try:
        stock_prefill(embedded, question, [576, 576, 30, 30, 7, 7])
    finally:
        for hook in hooks:
            hook.remove()
    text = question["input_ids"].shape[1] - 576
    assert seen == [text + count for count in (576, 576, 30, 30, 7, 7)]


def test_stock_layers_refuse_what_they_cannot_run(embedded: Vlm, question: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a number for each of 6 layers are needed, got 1 and 2"):
        stock_prefill(embedded, question, [576, 64])


@pytest.mark.parametrize("entry", [one for one in PRUNERS if where(one) == "before LM"], ids=lambda one: one.name)
def test_made_up_tokens_hold_all_that_a_pruner_reads(entry: AbstractPruner) -> None:
    pictures = [made_up(SMALL, seed) for seed in range(2)]
    kept = chosen(entry, pictures, 20)
    assert [len(own) for own in kept] == [len(kept[0])] * 2
    for own, again in zip(kept, chosen(entry, pictures, 20), strict=True):
        np.testing.assert_array_equal(own, again)


def test_choosing_anew_makes_the_cosines_anew() -> None:
    tokens = made_up(SMALL, 0)
    stale = tokens.similarity
    chosen(pruner("oracle"), [tokens], 20)
    assert tokens.similarity is not stale


def test_seen_tokens_are_asked_the_first_question(embedded: Vlm) -> None:
    samples = asked_samples(2)
    seen = seen_by(embedded, samples, frozenset({"projected", "cls"}))
    assert [len(tokens) for tokens in seen] == [576, 576]
    for tokens, sample in zip(seen, samples, strict=True):
        np.testing.assert_array_equal(tokens.needed, sample.questions[0].needed)
        words = sample.questions[0].question.split()
        assert tokens.text is not None
        assert len(tokens.text) >= len(words)


def test_estimate_says_that_it_is_one() -> None:
    guess = estimated(64, LLAVA_7B, rate=1e12)
    assert guess is not None
    # language model 1.614 TFLOP, encoder 0.382, projector 0.024, head 2 * 4096 * 32064
    assert guess.seconds == pytest.approx(2.02, abs=0.02)
    assert guess.how.startswith("ESTIMATE: 2.0")
    assert estimated(64, SMALL, rate=1e12) is None


def test_a_pruner_that_fails_is_a_row(embedded: Vlm) -> None:
    size = Size(SMALL, keeps=(4,), images=1, samples=1)  # the encoder cannot merge down to so few
    (row,) = [row for part in measure(size, embedded, [pruner("tome")]) for row in part]
    assert row["verdict"] == "fails"
    assert row["note"].startswith("ValueError: ")
    assert shown(table([row])).row_count == 1


def test_command_writes_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: Any) -> None:
    def no_rows(size: Size, vlm: Any, entries: Any) -> Any:
        assert size == QUICK
        assert [entry.name for entry in entries] == ["fastv"]
        yield [{"tokens": "t", "work": "choice", "pruner": "fastv", "keep": 1, "images": 1, "cpu_ms": 1.5}]

    monkeypatch.setattr(benchmark, "measure", no_rows)
    monkeypatch.setattr(benchmark, "load", lambda path: None)
    benchmark.main(quick=True, only=["fastv"], out=tmp_path / "speed.csv")
    written = pd.read_csv(tmp_path / "speed.csv")
    assert written.loc[0, ["pruner", "cpu_ms"]].tolist() == ["fastv", 1.5]
    assert "measured choice, t, keep 1, images 1" in capsys.readouterr().out


def test_unknown_pruner_is_refused_with_the_nearest() -> None:
    with pytest.raises(KeyError, match="did you mean 'vispruner'"):
        benchmark.main(only=["vispuner"])
