"""The command, as a stranger runs it: in a process of its own, killed, resumed, misused."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from analysis.figures import FIGURES
from analysis.study.settings import EXPLORED, PRUNERS

COMMAND = [sys.executable, "-m", "analysis.cli", "study", "--fast"]
KEEPS = {192, 128, 64, 32, 576}


def prunescope(*arguments, check=True):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=300, check=check)


@pytest.fixture(scope="module")
def killed_and_resumed(tmp_path_factory):
    """A study killed with SIGKILL while it answers questions, and its second, complete run."""
    out = tmp_path_factory.mktemp("study") / "out"
    process = subprocess.Popen([*COMMAND, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while process.poll() is None and not list(out.glob("work/*/accuracy/*/*.parquet")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in out.glob("work/*/accuracy/*/*.parquet")}
    assert not (out / "report.html").exists()
    return out, before, prunescope("--out", str(out))


def test_resumed_study_keeps_what_was_done(killed_and_resumed):
    _, before, _ = killed_and_resumed
    assert before
    for path, written in before.items():
        assert path.stat().st_mtime_ns == written


def test_last_line_says_what_to_open(killed_and_resumed):
    out, _, finished = killed_and_resumed
    assert finished.stdout.splitlines()[-1] == f"open {out / 'report.html'}"


def test_tables_have_neither_hole_nor_duplicate(killed_and_resumed):
    out, _, _ = killed_and_resumed
    accuracy = pd.read_parquet(out / "accuracy.parquet")
    assert not accuracy.duplicated(["pruner", "keep", "question_id"]).any()
    per_setting = accuracy.groupby(["pruner", "keep"])["question_id"].nunique()
    assert per_setting.nunique() == 1
    assert set(accuracy["keep"]) == KEEPS
    selection = pd.read_parquet(out / "selection.parquet")
    assert not selection.duplicated(["problem", "objective", "solver", "seed"]).any()
    solved = selection[selection["value"].notna()]
    assert (solved["value"] <= solved["upper_bound"]).all()
    assert selection.loc[selection["value"].isna(), "reason"].str.len().gt(0).all()
    attention = pd.read_parquet(out / "attention.parquet")
    assert not attention.duplicated(["source", "layer", "image_id", "metric"]).any()
    for rows in (accuracy, selection, attention):
        assert {"prunescope", "torch", "commit", "cpu"} <= set(rows.columns)


def test_exact_is_proven_optimal_and_greedy_is_within_its_guarantee(killed_and_resumed):
    selection = pd.read_parquet(killed_and_resumed[0] / "selection.parquet")
    location = selection[selection["objective"].str.startswith("FacilityLocation")].set_index("solver")
    assert location.loc["Exact", "value"] >= location["value"].max()
    assert location.loc["Greedy", "value"] >= (1 - 1 / 2.718281828) * location.loc["Exact", "value"]


def test_every_figure_is_there_as_png_and_pdf(killed_and_resumed):
    folder = killed_and_resumed[0] / "figures"
    names = {figure.__name__ for figure in FIGURES}
    names |= {"mass_curves", "index_profile", "layer_agreement", "head_atlas"}
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.{suffix}" for name in names for suffix in ("png", "pdf")
    }


def test_report_is_complete_and_names_no_machine_path(killed_and_resumed):
    page = (killed_and_resumed[0] / "report.html").read_text()
    for word in ("VisPruner", "Facility location", "prunescope study --fast", "data/mini_llava", "rests on 4 images"):
        assert word in page
    assert os.getcwd() not in page
    assert len(page.encode()) <= 15e6


def test_explorer_has_every_pruner_budget_and_layer(killed_and_resumed):
    page = (killed_and_resumed[0] / "report.html").read_text()
    data = json.loads(re.search(r'id="explorer-data">(.*?)</script>', page, re.DOTALL)[1])
    settings = {(pruner.name, keep) for pruner in (*PRUNERS, *EXPLORED) for keep in (192, 128, 64, 32)}
    assert len(data["images"]) == 2
    for question in (question for image in data["images"] for question in image["questions"]):
        choices = {(pruner, keep): (reply, stages) for pruner, keep, _, reply, stages in question["choices"]}
        assert set(choices) == settings
        assert all(reply is not None and isinstance(reply[1], bool) for reply, _ in choices.values())
        assert {pruner for (pruner, _), (_, stages) in choices.items() if stages} == {p.name for p in EXPLORED}
        assert len(question["attention"]) == 6
    assert [(place["inside"], place["layer"]) for place in data["places"]] == [
        *((False, layer) for layer in range(1, 6)),
        *((True, layer) for layer in range(1, 7)),
    ]


def test_a_damaged_result_is_named_in_a_sentence(killed_and_resumed, tmp_path):
    again = shutil.copytree(killed_and_resumed[0], tmp_path / "out")
    part = min(again.glob("work/*/accuracy/*/*.parquet"))
    part.write_bytes(b"PAR1 and then nothing")
    failed = prunescope("--out", str(again), check=False)
    assert failed.returncode == 2
    assert f"prunescope study: accuracy: {part} cannot be read" in failed.stderr
    assert "delete it to have it computed again" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_missing_model_folder_is_refused_in_a_sentence(tmp_path):
    failed = prunescope("--model", "data/mini_lava", "--out", str(tmp_path / "out"), check=False)
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1].startswith("prunescope study: cannot load the model: no model folder at")
    assert "did you mean 'data/mini_llava'?" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    failed = prunescope("--out", str(tmp_path / "out"), check=False)
    assert failed.returncode == 2
    assert "cannot write to" in failed.stderr
    assert (tmp_path / "out").read_text() == "mine"


def test_images_out_of_range_are_refused(tmp_path):
    failed = prunescope("--images", "0", "--out", str(tmp_path / "out"), check=False)
    assert failed.returncode == 2
    assert "--images" in failed.stderr
