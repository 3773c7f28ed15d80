"""The benchmark of answers on tiny models: which parts are timed, under what, and what happens when time runs out."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.cost import SHIPPED, architecture, configuration
from analysis.pruning import PRUNERS, prune, pruner
from analysis.pruning.pruners import own_rule
from benchmarks import latency
from benchmarks.answers import CHOOSING, PARTS, Question, Watch
from benchmarks.latency import Outcome, Plan, measure, row, shown, table
from benchmarks.random_models import PIXELS, SMALL, prompt, random_model

CPU = torch.device("cpu")
CHOSEN = ("visionzip", "tome", "fastv", "oracle")


@pytest.fixture(scope="module")
def plan() -> Plan:
    """A third of the tokens of every image."""
    return Plan(pruners=tuple(map(pruner, CHOSEN)), keeps=(192,), words=20, new=3, samples=1, small=True)


@pytest.fixture(scope="module")
def frame(plan: Plan) -> pd.DataFrame:
    *_, outcome = measure(plan, CPU)
    return table(outcome, CPU)


def test_every_model_is_measured_under_every_pruner(frame: pd.DataFrame) -> None:
    assert frame["model"].drop_duplicates().tolist() == list(SHIPPED)
    assert all(part["pruner"].tolist() == ["none", *CHOSEN] for _, part in frame.groupby("model"))
    assert frame.attrs["left_out"] == []
    assert frame["device"].unique().tolist() == ["cpu"]
    assert {"torch", "transformers", "commit", "cuda"} <= set(frame)
    assert shown(frame).row_count == len(frame)


def test_pruners_that_refuse_a_family_are_rows(frame: pd.DataFrame) -> None:
    failed = frame[frame["note"] != ""]
    assert set(zip(failed["model"], failed["pruner"], strict=True)) == {
        ("llava-next-7b", "tome"),
        ("qwen2.5-vl-7b", "tome"),
    }
    assert failed["note"].str.startswith("fails: ValueError: 'tome' needs pictures of one size").all()
    assert failed[list(PARTS)].isna().all(axis=None)


def test_visual_tokens_are_those_of_the_budget(frame: pd.DataFrame) -> None:
    done = frame[frame["note"] == ""].set_index(["model", "pruner"])
    for model, patches, newlines in (("llava-1.5-7b", 36, 0), ("llava-next-7b", 180, 12), ("qwen2.5-vl-7b", 36, 0)):
        own, keep = done.loc[model], patches // 3
        assert own.loc["none", ["keep", "of", "visual"]].tolist() == [patches, patches, patches + newlines]
        assert (own.drop("none")["keep"] == keep).all()
        assert (own.loc[["visionzip", "oracle"], "visual"] == keep).all()
        # two of four layers see everything
        assert own.loc["fastv", "visual"] == (patches + newlines + keep) / 2


def test_parts_make_up_the_whole(frame: pd.DataFrame) -> None:
    done = frame[frame["note"] == ""]
    # one sample each, so that these are sums and not medians of sums
    assert (done["before_ms"] + done["prefill_ms"] <= done["first_token_ms"]).all()
    np.testing.assert_array_less(done["first_token_ms"] + 2 * done["decode_ms"], done["total_ms"] + 1e-6)
    assert (done.loc[done["pruner"] == "none", "select_ms"] == 0).all()
    assert (done.loc[done["pruner"] != "none", "select_ms"] > 0).all()
    before, inside = (done[done["where"] == place] for place in ("before LM", "inside LM"))
    assert (before["select_ms"] < before["before_ms"]).all()
    assert (inside["select_ms"] < inside["prefill_ms"]).all()
    assert done["peak_mib"].isna().all()  # that of a processor is not asked for


def test_time_that_runs_out_leaves_rows_out_and_says_which(plan: Plan) -> None:
    # A clock that goes on by a second whenever it is read: two readings to begin a model, two for each row.
    ticks = itertools.count()
    short = replace(plan, models=SHIPPED[:2], pruners=plan.pruners[:3], seconds=12, new=2)
    *_, outcome = measure(short, CPU, now=lambda: float(next(ticks)))
    measured = [(one["model"], one["pruner"]) for one in outcome.rows]
    assert 0 < len(measured) < 8
    assert len(measured) + len(outcome.left_out) == 8
    assert [entry.rsplit(", ", 1)[0] for entry in outcome.left_out] == [
        f"{model}, {name}" for model in SHIPPED[:2] for name in ("none", *CHOSEN[:3]) if (model, name) not in measured
    ]
    assert {model for model, _ in measured} == set(SHIPPED[:2])  # every model has its share of the time


def test_no_time_is_no_row(plan: Plan) -> None:
    *_, outcome = measure(replace(plan, models=SHIPPED[:2], keeps=(64, 192), seconds=0), CPU)
    assert outcome.rows == []
    assert len(outcome.left_out) == 2 * (1 + 2 * len(CHOSEN))


def test_a_model_that_does_not_fit_is_left_out(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    def too_large(*args: Any, **options: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(latency.Question, "about", too_large)
    (outcome,) = measure(replace(plan, models=SHIPPED[:1]), CPU)
    assert outcome.rows == []
    assert outcome.left_out == [f"llava-1.5-7b, {name}" for name in ("none, 576", *(f"{one}, 192" for one in CHOSEN))]


@pytest.fixture(scope="module")
def llava() -> Question:
    return Question.about("llava-1.5-7b", CPU, 20, small=True)


def test_a_watched_pruner_chooses_as_it_did(llava: Question) -> None:
    for name in ("divprune", "prumerge", "fastv", "sparsevlm"):
        logits = []
        for entry in (pruner(name), Watch(CPU).choosing(pruner(name))):
            with prune(llava.model, entry, keep=12) as log, torch.no_grad():
                logits.append(llava.model(**llava.inputs).logits)
        assert torch.equal(*logits), name
        assert log.visual_tokens[0, -1] == 12


def test_watching_leaves_the_pruner_alone(llava: Question) -> None:
    entry = pruner("vispruner")
    before = dict(vars(entry))
    watch = Watch(CPU)
    watched = watch.choosing(entry)
    assert vars(entry) == before
    assert watch.spent == 0
    with prune(llava.model, watched, keep=12), torch.no_grad():
        llava.model(**llava.inputs)
    assert watch.spent > 0


def test_clock_waits_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    gpu = torch.device("cuda")
    watch = Watch(gpu)
    watch.now()
    assert waited == [gpu]
    watch.choosing(pruner("random")).quotas([range(4), range(4)], 3)  # type: ignore[list-item]
    assert waited == 3 * [gpu]  # ahead of a choice and behind it


def test_what_is_watched_is_there_for_some_pruner() -> None:
    assert all(any(hasattr(entry, name) for entry in PRUNERS) for name in CHOOSING)


def test_asking_leaves_no_hook_also_when_a_pruner_fails(llava: Question) -> None:
    def broken(features: np.ndarray, keep: int) -> np.ndarray:
        raise ZeroDivisionError("one's own rule")

    def hooks() -> list[int]:
        return [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in llava.model.modules()]

    before = hooks()  # the library has some of its own
    assert row(llava, pruner("random"), 192, Plan(new=2, samples=1))["note"] == ""
    assert hooks() == before
    found = row(llava, own_rule(broken), 192, Plan(new=2, samples=1))
    assert found["note"] == "fails: ZeroDivisionError: one's own rule"
    assert hooks() == before


@pytest.mark.parametrize("name", SHIPPED)
def test_full_size_prompts_hold_an_image_and_sixty_words(name: str) -> None:
    model, _ = random_model(name, torch.device("meta"))
    images = PIXELS[model.config.model_type](model.config, tuple(configuration(name)["image"]))
    ids = prompt(model, images, words=60)["input_ids"]
    assert ids.shape == (1, architecture(name, unpad=True).visual + 60)
    assert sum(entry.numel() for entry in model.parameters()) > 7e9
    assert model.dtype == torch.bfloat16


def test_weights_are_the_same_every_time() -> None:
    one, other = (random_model("llava-1.5-7b", CPU, small=True) for _ in range(2))
    for mine, theirs in zip(one[0].parameters(), other[0].parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(one[1]["pixel_values"], other[1]["pixel_values"])
    assert set(SMALL) == set(PIXELS)


def test_too_few_words_are_refused(llava: Question) -> None:
    with pytest.raises(ValueError, match="`words` must be at least 8, got 7"):
        prompt(llava.model, {"pixel_values": llava.inputs["pixel_values"]}, 7)


def test_table_of_a_run_can_be_read_again(tmp_path: Path) -> None:
    out = tmp_path / "latency.parquet"
    latency.main(
        small=True, models=["llava-1.5-7b"], pruners=["fastervlm"], keeps=[64], seconds=480, samples=1, new=2, out=out
    )
    frame = pd.read_parquet(out)
    assert frame["pruner"].tolist() == ["none", "fastervlm"]
    assert frame["keep"].tolist() == [36, 4]
    assert frame.attrs == {"left_out": []}


def test_without_a_gpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    latency.main(out=tmp_path / "latency.parquet")
    assert "no NVIDIA device here: nothing was measured" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_an_unknown_model_is_refused_with_the_nearest() -> None:
    with pytest.raises(KeyError, match=r"did you mean 'llava-1.5-7b'"):
        latency.main(small=True, models=["lava-1.5-7b"])


def test_an_empty_outcome_is_an_empty_table() -> None:
    frame = table(Outcome(left_out=["llava-1.5-7b, none, 576"]), CPU)
    assert frame.empty
    assert set(PARTS) <= set(frame)
    assert frame.attrs == {"left_out": ["llava-1.5-7b, none, 576"]}
