"""The plug-in in lmms-eval itself, offline: a local task on the embedded model, found through the entry point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.evaluation import MiniVqa, evaluate
from analysis.models import load

if find_spec("lmms_eval") is None:
    pytest.skip("lmms-eval is not installed: it comes with the extra lmms", allow_module_level=True)

ROOT = Path(__file__).parents[4]
SHIPPED, QUESTIONS = ROOT / "data" / "mini_llava", ROOT / "data" / "mini_vqa" / "validation.parquet"
IMAGES = 3
OFFLINE = {f"{name}_OFFLINE": "1" for name in ("HF_HUB", "HF_DATASETS", "TRANSFORMERS")}
YAML = """
task: local_mini_vqa
dataset_path: parquet
dataset_kwargs: {{data_files: {{test: {questions}}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.pictures
doc_to_text: question
doc_to_target: answer
generation_kwargs: {{max_new_tokens: 16, temperature: 0, do_sample: false, num_beams: 1, top_p: 1.0}}
process_results: !function utils.score
metric_list: [{{metric: exact, aggregation: mean, higher_is_better: true}}]
"""
UTILS = """
import io

from analysis.evaluation import exact_match
from PIL import Image


def pictures(doc):
    return [Image.open(io.BytesIO(doc["image"]))]


def score(doc, results):
    return {"exact": float(exact_match(results[0], doc["answer"]))}
"""
COMMON = f"pretrained={SHIPPED},position_ids=keep"
RUNS = {
    "none": (f"pretrained={SHIPPED}", 4),
    "vispruner": (f"{COMMON},pruner=vispruner,keep=64", 5),
    "random": (f"{COMMON},pruner=random,keep=32,seed=3", 1),
    "cdpruner": (f"{COMMON},pruner=cdpruner,keep=32", 4),
    "fastv": (f"{COMMON},pruner=fastv,keep=64", 4),
    "broken": (f"{COMMON},pruner=vispruner,keep=64,important_ratio=7", 2),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The task and its data: the first images of the embedded benchmark."""
    place = tmp_path_factory.mktemp("task")
    rows = MiniVqa("validation", images=IMAGES)
    asked = {question.question_id for sample in rows for question in sample.questions}
    table = pd.read_parquet(QUESTIONS)
    table[table["question_id"].isin(asked)].to_parquet(place / "questions.parquet", index=False)
    (place / "task.yaml").write_text(YAML.format(questions=place / "questions.parquet"))
    (place / "utils.py").write_text(UTILS)
    return place


@pytest.fixture(scope="module")
def plugin(folder: Path) -> Path:
    """The entry point as an installed distribution declares it."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["lmms_eval.models"]
    place = folder / "site" / "plugin-0.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 0\n")
    lines = [f"{name} = {target}\n" for name, target in groups.items()]
    (place / "entry_points.txt").write_text("".join(["[lmms_eval.models]\n", *lines]))
    return place.parent


@pytest.fixture(scope="module")
def found(folder: Path, plugin: Path) -> dict[str, dict[str, Any]]:
    """What lmms-eval reports for each of `RUNS`."""
    runs = [{"task": "local_mini_vqa", "model_args": args, "batch_size": size} for args, size in RUNS.values()]
    (folder / "runs.json").write_text(json.dumps(runs))
    script = Path(__file__).with_name("run_local_task.py")
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{plugin}", "HF_HOME": str(folder / "home")}
    run = subprocess.run(
        [sys.executable, script, folder, folder / "runs.json", folder / "found.json"],
        env=os.environ | OFFLINE | paths | {"OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return dict(zip(RUNS, json.loads((folder / "found.json").read_text()), strict=True))


@pytest.fixture(scope="module")
def ours(folder: Path) -> pd.DataFrame:
    task = MiniVqa(path=folder / "questions.parquet")
    vlm = load(SHIPPED)
    options: dict[str, Any] = {"position_ids": "keep", "progress": False}
    parts = [
        evaluate(vlm, task, ["vispruner", "fastv"], (64,), **options),
        evaluate(vlm, task, ["random", "cdpruner"], (32,), seeds=(3,), **options),
    ]
    return pd.concat(parts).drop_duplicates(["pruner", "question_id"])


@pytest.mark.parametrize("name", [name for name in RUNS if name != "broken"])
def test_answers_and_accuracy_are_those_of_our_evaluator(
    name: str, found: dict[str, dict[str, Any]], ours: pd.DataFrame, folder: Path
) -> None:
    order = pq.read_table(folder / "questions.parquet", columns=["question_id"])["question_id"].to_pylist()
    rows = ours[ours["pruner"] == name].set_index("question_id").loc[order]
    assert found[name]["answers"] == rows["prediction"].tolist()
    assert found[name]["accuracy"] == pytest.approx(rows["correct"].mean())


def test_the_runs_differ(found: dict[str, dict[str, Any]]) -> None:
    answers = [tuple(found[name]["answers"]) for name in ("none", "vispruner", "random", "cdpruner")]
    assert len(set(answers)) == len(answers)


def test_tokens_are_reported(found: dict[str, dict[str, Any]], ours: pd.DataFrame) -> None:
    for name, kept in (("none", 576), ("vispruner", 64), ("random", 32), ("cdpruner", 32)):
        rows = ours[ours["pruner"] == name]
        assert found[name]["throughput"]["avg_visual_tokens"] == kept
        inputs = sorted(entry["input_tokens"] for entry in found[name]["tokens"])
        assert inputs == sorted(rows["n_text"] + kept)
        assert all(2 <= entry["output_tokens"] <= 16 for entry in found[name]["tokens"])
        assert f"pruner={name}" in found[name]["config"] or name == "none"


def test_a_broken_pruner_is_an_error_and_no_bad_pruner(found: dict[str, dict[str, Any]]) -> None:
    assert set(found["broken"]) == {"error", "notes"}
    assert "important_ratio" in found["broken"]["error"]
    assert "while answering document 0 of 'local_mini_vqa'" in found["broken"]["notes"]
