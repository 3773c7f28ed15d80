"""The shipped model: a stock checkpoint that answers, and a card whose numbers are those that were measured."""

import pandas as pd
import pytest
from transformers import AutoProcessor, LlavaForConditionalGeneration

from analysis import evaluate, load
from analysis.evaluation import MiniVqa
from analysis.evaluation.gate import judge, megabytes, printed, recorded_time, recorded_trainings
from data.make.gate import DATA, card_table, selection_table, trainings_text
from data.make.vocabulary import TASKS

FOLDER = DATA / "mini_llava"
MEASURED = pd.read_csv(DATA / "measured" / "accuracy.csv")


def test_it_is_a_stock_llava_of_the_promised_shape():
    model = LlavaForConditionalGeneration.from_pretrained(FOLDER, local_files_only=True)
    processor = AutoProcessor.from_pretrained(FOLDER, local_files_only=True)
    vision, text = model.config.vision_config, model.config.text_config
    assert (vision.image_size // vision.patch_size) ** 2 == model.config.image_seq_length == 576
    assert model.config.vision_feature_layer == -2
    assert text.num_hidden_layers == 6
    assert processor.tokenizer.padding_side == "left"


def test_it_is_safetensors_of_a_few_megabytes():
    files = {path.suffix: path.stat().st_size for path in FOLDER.iterdir()}
    assert set(files) == {".json", ".jinja", ".md", ".safetensors"}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 16e6


def test_it_answers_questions_it_has_not_seen():
    rows = evaluate(load(str(FOLDER)), MiniVqa("validation"), [], images=12, progress=False)
    assert rows["correct"].mean() > 0.8


def test_the_measured_model_is_the_shipped_one():
    assert set(MEASURED["config_hash"]) == {load(str(FOLDER)).config_hash}
    assert set(MEASURED["task_checksum"]) == {MiniVqa().checksum}


@pytest.fixture(scope="module")
def priors():
    frame = pd.read_parquet(DATA / "mini_vqa" / "test.parquet")
    return {
        task: rows["answer"].value_counts(normalize=True).iloc[0] for task, rows in frame.groupby("task", sort=False)
    }


def test_the_gate_is_passed_by_what_was_measured_but_for_three_pairs_of_pruners(priors):
    """Other trainings order them the other way round: LOG.md, 2026-11-22. All else must hold."""
    tables = {
        name: pd.read_csv(DATA / "measured" / f"{name}.csv")
        for name in ("reliability", "needed", "fastv", "compact", "packed")
    }
    config_hash = load(str(FOLDER)).config_hash
    trainings, time = recorded_trainings(config_hash), recorded_time(config_hash)
    assert trainings is not None
    assert time is not None
    checks = judge(MEASURED, priors, megabytes=megabytes(FOLDER), trainings=trainings, time=time, **tables)
    missed = [(check.what, check.value, check.note) for check in checks if check.binding and not check.holds]
    (line,) = missed
    assert line[:2] == ("pairs of pruners that 3 trainings rank oppositely at 64", 3), printed(checks)
    turned = {"fastervlm > DppMap+LogDet", "cdpruner > greedyprune", "divprune > fopru_rank"}
    assert {" > ".join(sorted(pair.split(" > "))) for pair in line[2].split("; ")} == {
        " > ".join(sorted(pair.split(" > "))) for pair in turned
    }


def test_card_and_readme_state_what_was_measured(priors):
    card = (FOLDER / "README.md").read_text()
    assert card_table(MEASURED, priors) in card
    readme = (DATA.parent / "README.md").read_text()
    assert card_table(MEASURED, priors) in readme
    assert selection_table(pd.read_csv(DATA / "measured" / "selection.csv")) in readme
    told = trainings_text(recorded_trainings(load(str(FOLDER)).config_hash))
    assert "| seed 1 | seed 2 |" in told
    assert told in card


@pytest.mark.parametrize("task", [*TASKS, "mean"])
def test_every_task_was_measured_at_every_budget(task):
    rows = MEASURED[MEASURED["task"] == task]
    assert set(rows["keep"]) == {576, 192, 128, 64, 32}
    assert rows.groupby("pruner")["keep"].nunique().drop("none").eq(4).all()
