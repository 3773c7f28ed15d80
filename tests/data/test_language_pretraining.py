"""Language pre-training: what is read, what each stage trains, and how looking back is measured."""

import json
from dataclasses import replace
from importlib import metadata

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import LlavaForConditionalGeneration

from analysis.figures import dispersion
from analysis.study.run import EMBEDDED
from data.make.alone import alone
from data.make.batches import make_batch
from data.make.docstrings import LEAST, Docstring, docstrings, from_source, versions
from data.make.language_measures import (
    ASKING,
    GAP,
    INDEX_METRICS,
    SHUFFLED,
    SPAN,
    _read,
    differences,
    summary,
    text_rows,
)
from data.make.language_pretraining import DATA, MEASURED, PANELS, figure_frame, measured, training_log
from data.make.language_stages import Plan, StageTrainer, Text, predictions, stages, start_trainee
from data.make.model import Size
from data.make.plain_text import stock_tokenizer, stream, train_tokenizer, windows
from data.make.train import Phase, save_checkpoint
from data.make.vocabulary import TOKEN, WORDS

SMALL = Plan(
    stages=stages(text=2, aligned=1, tuned=2, longer=1),
    packages=("typer", "joblib"),
    held_out=("rich",),
    vocabulary=400,
    length=1 + SPAN + GAP + ASKING,
    windows=1,
    pictures=Phase("pictures", 0, (8,), 400, (0, 0), questions=4),
    size=Size(text_width=32, text_layers=3, text_heads=2),
    bfloat16=False,
)
SOURCE = b'''"""Of the module."""
raise RuntimeError("never run")
class Thing:
    """Of the class.

    Plain.
        Indented.
    """
    async def method(self):
        """Of the method."""
def silent():
    pass
'''


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("language")


@pytest.fixture(scope="module")
def text(work):
    return Text(SMALL, work / "text")


@pytest.fixture(scope="module")
def table(work, text):
    return measured(SMALL, work, 2, progress=False)


def test_docstrings_are_found_without_running_the_module():
    found = list(from_source(SOURCE, "module"))
    assert found == [
        Docstring("module", "Of the module."),
        Docstring("Thing", "Of the class.\n\nPlain.\n    Indented."),
        Docstring("method", "Of the method."),
    ]


def test_what_is_no_python_has_no_docstrings():
    assert list(from_source(b"def f(:", "f")) == list(from_source(b"\0", "f")) == []


def test_docstrings_of_a_package_are_long_enough_and_occur_once():
    texts = [entry.text for entry in docstrings(("typer", "typer"))]
    assert min(map(len, texts)) >= LEAST
    assert len(texts) == len(set(texts)) > 20
    assert versions(("typer",)) == {"typer": metadata.version("typer")}


@pytest.mark.parametrize("ask", [docstrings, versions])
def test_a_package_that_is_not_installed_is_named(ask):
    with pytest.raises(ValueError, match="`packages` must be installed, 'no-such-package' is not"):
        ask(("typer", "no-such-package"))


def test_no_packages_are_refused():
    with pytest.raises(ValueError, match="`packages` must have docstrings of 100 characters, got none"):
        docstrings(())


def test_questions_keep_the_ids_of_the_embedded_model(text):
    tokenizer = text.tokenizer
    assert tokenizer.get_vocab_size() == SMALL.vocabulary
    assert {word: tokenizer.token_to_id(word) for word in WORDS} == TOKEN
    batch = make_batch(np.random.default_rng(0), 2, 12, questions=8)
    stock = stock_tokenizer(tokenizer)
    for row in batch.tokens[batch.task >= 0].tolist():
        ids = [token for token in row if token]
        assert stock(" ".join(WORDS[token] for token in ids))["input_ids"][1:] == ids


def test_words_come_back_from_pieces(text):
    tokenizer = text.tokenizer
    ids = tokenizer.encode("Unparameterised callbacks take 64 arguments.").ids
    assert tokenizer.decode(ids) == "unparameterised callbacks take 6 4 arguments ."
    assert TOKEN["6"] in ids


def test_a_vocabulary_larger_than_the_text_is_refused():
    with pytest.raises(ValueError, match=r"`size` must be at most \d+ for these texts, got 5000"):
        train_tokenizer(["some words, and a few more"], 5000)


def test_the_stream_holds_every_docstring_once(text):
    entries = [Docstring("one", "the red square"), Docstring("two", "is there a circle")]
    ids = stream(text.tokenizer, entries).tolist()
    expected = {
        " ".join(("USER:", entry.name, "ASSISTANT:", entry.text, "</s>")): text.tokenizer.encode(entry.name).ids
        for entry in entries
    }
    parts = text.tokenizer.decode(ids, skip_special_tokens=False).split(" </s>")
    assert {part.strip() + " </s>" for part in parts[:-1]} == set(expected)
    assert ids.count(TOKEN["USER:"]) == ids.count(TOKEN["ASSISTANT:"]) == 2


def test_held_out_text_was_not_read(text):
    length = 40
    read = text.read.tobytes()
    pieces = [text.held_out[at : at + length].tobytes() for at in range(0, len(text.held_out) - length, 500)]
    assert pieces
    assert np.mean([piece in read for piece in pieces]) < 0.02


def test_text_of_other_packages_is_not_taken_for_its_own(text):
    assert text.versions["joblib"] == metadata.version("joblib")
    other = Text(replace(SMALL, packages=("typer",)), text.folder)
    with pytest.raises(ValueError, match=r"`packages` must be those of the text in .*, typer, joblib, rich"):
        _ = other.read


def test_windows_predict_the_next_token():
    tokens = np.arange(10, 31, dtype=np.int32)
    inputs, targets = windows(tokens, np.array([2, 0]), 7)
    assert targets.tolist() == [list(range(24, 31)), list(range(10, 17))]
    assert inputs[:, 0].tolist() == [TOKEN["<s>"]] * 2
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    with pytest.raises(ValueError, match=r"`numbers` must be in \[0, 3\) for 21 tokens, got up to 3"):
        windows(tokens, np.array([3]), 7)


def test_every_seed_starts_behind_the_shipped_tower():
    shipped = LlavaForConditionalGeneration.from_pretrained(EMBEDDED, dtype=torch.float32).state_dict()
    one, same, other = (start_trainee(replace(SMALL, seed=seed)).model.state_dict() for seed in (0, 0, 1))
    tower = {name for name in one if "vision_tower" in name}
    for name in one:
        assert torch.equal(one[name], same[name]), name
    assert all(torch.equal(one[name], shipped[name]) for name in tower)
    differ = {name for name in one if not torch.equal(one[name], other[name])}
    assert differ.isdisjoint(tower)
    assert "lm_head.weight" in differ
    assert one["lm_head.weight"].shape == (SMALL.vocabulary, 32)


@pytest.mark.parametrize(
    ("trains", "parts"),
    [
        ("language", {"language_model", "lm_head"}),
        ("projector", {"multi_modal_projector"}),
        ("both", {"language_model", "lm_head", "multi_modal_projector"}),
    ],
)
def test_a_stage_changes_what_it_trains_and_nothing_else(text, tmp_path, trains, parts):
    stage = replace(SMALL.stage("control"), name=trains, start=None, trains=trains, steps=2)
    trainer = StageTrainer(SMALL, stage, text, tmp_path)
    before = {name: value.clone() for name, value in trainer.trainee.state_dict().items()}
    run_steps(trainer, 2)
    changed = {name for name, value in trainer.trainee.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.removeprefix("model.").removeprefix("model.").split(".")[0] for name in changed} == parts


def run_steps(trainer, count):
    for _ in range(count):
        trainer._step()


def test_a_second_run_of_a_stage_is_refused(text, tmp_path):
    trainer = StageTrainer(SMALL, replace(SMALL.stage("pretrained"), steps=1), text, tmp_path)
    with alone(trainer.folder), pytest.raises(RuntimeError, match="one training at a time"):
        trainer.run()
    assert trainer.progress.step == 0
    assert not trainer.path.exists()


@pytest.mark.parametrize("name", ["pretrained", "control"])
def test_a_resumed_stage_equals_an_uninterrupted_one(text, tmp_path, name):
    stage = replace(SMALL.stage(name), start=None, steps=4)
    whole, first = (StageTrainer(SMALL, stage, text, tmp_path / folder) for folder in ("whole", "halves"))
    run_steps(whole, 4)
    run_steps(first, 2)
    save_checkpoint(first.path, first.trainee, first.optimiser, first.progress)
    second = StageTrainer(SMALL, stage, text, tmp_path / "halves")
    assert second.progress.step == 2
    run_steps(second, 2)
    for (part, one), other in zip(
        whole.trainee.state_dict().items(), second.trainee.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, other, msg=part)


def test_a_stage_waits_for_the_one_before(text, tmp_path):
    with pytest.raises(FileNotFoundError, match="stage 'tuned' starts from 'aligned', which has not been run"):
        StageTrainer(SMALL, SMALL.stage("tuned"), text, tmp_path)


def test_the_control_sees_the_same_pictures_at_the_same_rates():
    plan = Plan()

    def seen(*names):
        chosen = [plan.stage(name) for name in names]
        return [(stage.first + step, stage.rate) for stage in chosen for step in range(stage.steps)]

    numbers = seen("aligned", "tuned", "tuned longer")
    assert numbers == seen("control half way", "control", "control longer")
    assert [number for number, _ in numbers] == list(range(len(numbers)))  # no picture twice
    assert plan.length > SPAN + GAP + ASKING


def test_reading_text_learns_it(text, tmp_path):
    trainer = StageTrainer(replace(SMALL, seed=3), replace(SMALL.stage("pretrained"), steps=40), text, tmp_path)
    inputs, targets = windows(text.read, np.arange(3), SMALL.length)

    def nats():
        with torch.no_grad():
            logits = predictions(trainer.trainee.model, inputs)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()

    start = nats()
    run_steps(trainer, 40)
    assert start == pytest.approx(np.log(SMALL.vocabulary), abs=0.3)
    assert nats() < start - 0.15


@pytest.fixture
def random_model(work, table):
    return work / "seed0" / "random" / "model"


def test_attention_rows_lie_a_question_behind_the_text(random_model, text):
    model = LlavaForConditionalGeneration.from_pretrained(random_model, attn_implementation="eager").eval()
    inputs, _ = windows(text.held_out, np.array([1]), SMALL.length)
    with torch.no_grad():
        rows = _read(model, inputs)[1]
        for asking in (0, ASKING - 1):
            seen = inputs[:, : SMALL.length - ASKING + asking + 1]  # the token that asks is the last one
            alone = model.model.language_model(input_ids=seen, output_attentions=True).attentions
            expected = torch.stack([layer[0, :, -1].mean(0) for layer in alone])[:, -1 - GAP - SPAN : -1 - GAP]
            np.testing.assert_allclose(rows[asking], expected.double(), atol=1e-6)


def test_even_attention_leans_nowhere(random_model, text, tmp_path):
    model = LlavaForConditionalGeneration.from_pretrained(random_model)
    for layer in model.model.language_model.layers:
        torch.nn.init.zeros_(layer.self_attn.q_proj.weight)
    model.save_pretrained(tmp_path)
    rows = text_rows(tmp_path, text.held_out, SMALL.length, 2)
    means = rows[rows["layer"].notna()].pivot_table(index="metric", values="value", aggfunc=["min", "max"])
    even = {"mean_index": 0.5, "slope": 0.0, "spearman_index": 0.0} | {f"quartile_{q}": 0.25 for q in range(1, 5)}
    for name, value in even.items():
        if name != "spearman_index":  # ranks of rounding errors
            assert means.loc[name].to_numpy() == pytest.approx([value, value], abs=1e-4), name


def test_nats_are_those_of_the_logits(random_model, text):
    rows = text_rows(random_model, text.held_out, SMALL.length, 1)
    model = LlavaForConditionalGeneration.from_pretrained(random_model)
    inputs, targets = windows(text.held_out, np.array([0]), SMALL.length)
    with torch.no_grad():
        chance = model(input_ids=inputs).logits.double().softmax(-1)
    expected = -chance[0].gather(1, targets[0][:, None]).log().mean().item()
    assert rows.loc[rows["metric"] == "nats", "value"].item() == pytest.approx(expected, abs=1e-5)
    assert set(rows["arrangement"]) == {"true", SHUFFLED}


@pytest.mark.parametrize(
    ("length", "count", "message"),
    [
        (SMALL.length - 1, 1, "`length` must be at least 603, got 602"),
        (SMALL.length, 0, r"`count` must be in \[1, \d+\], got 0"),
    ],
)
def test_text_that_is_too_short_is_refused(tmp_path, text, length, count, message):
    with pytest.raises(ValueError, match=message):
        text_rows(tmp_path, text.held_out, length, count)


def rows_of(stage, values):
    shared = {"kind": "replay", "arrangement": "true", "layer": 1, "metric": "slope", "stage": stage}
    return pd.DataFrame([shared | {"image_id": str(i), "value": value} for i, value in enumerate(values)])


def test_differences_are_taken_image_by_image():
    rows = pd.concat([rows_of("a", [1.0, 2.0, 3.0]), rows_of("b", [0.5, 1.5, 2.5])])
    (row,) = summary(differences(rows, [("a", "b")])).to_dict("records")
    assert row["stage"] == "a - b"
    assert [row["low"], row["estimate"], row["high"]] == pytest.approx([0.5] * 3)  # the images' own spread is gone
    assert row["images"] == 3
    with pytest.raises(ValueError, match="`pairs` must name stages with rows, got 'a' and 'c'"):
        differences(rows, [("a", "c")])


def test_a_finished_run_is_measured_for_all_stages(table, work):
    assert set(MEASURED) <= set(table["stage"])
    assert {"tuned - control", "pretrained - random"} <= set(table["stage"])
    assert set(INDEX_METRICS) <= set(table["metric"])
    assert table.loc[table["kind"] == "answers", "metric"].str.startswith("accuracy ").all()
    assert not (table["low"] > table["high"]).any()
    again = measured(SMALL, work, 2, progress=False)
    pd.testing.assert_frame_equal(table, again)
    head, *log = (json.loads(line) for line in training_log([SMALL], work).splitlines())
    assert head["packages"]["joblib"] == metadata.version("joblib")
    assert [(line["stage"], line["step"]) for line in log] == [
        (stage.name, stage.steps) for stage in SMALL.stages if stage.steps
    ]


def test_the_figure_draws_a_line_per_stage(table):
    figure = dispersion(figure_frame(table, SMALL.seed), metrics=tuple(PANELS))
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.get_visible()]
    assert titles == list(PANELS)


def test_the_shipped_table_holds_every_stage():
    shipped = pd.read_csv(DATA / "measured" / "language_pretraining.csv")
    layers = shipped[shipped["kind"] == "replay"]
    assert layers.groupby(["seed", "stage"])["layer"].nunique().eq(6).all()
    assert set(MEASURED) <= set(shipped["stage"])
    assert set(shipped["seed"]) == {0, 1}
    nats = shipped[shipped["metric"] == "nats"].set_index(["seed", "stage"])["estimate"]
    for seed in shipped["seed"].unique():
        assert nats[seed, "random"] == pytest.approx(np.log(Plan().vocabulary), abs=0.1)
        assert nats[seed, "pretrained"] < nats[seed, "random"] - 2
