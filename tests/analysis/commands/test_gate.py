"""`prunescope gate`: lines from real answers, and exit codes that follow from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from analysis.commands.model_option import embedded_folder
from analysis.evaluation.gate import FLOORS, Measured, megabytes

MEASURED = embedded_folder().parent / "measured"


def checks(done) -> dict[str, dict]:
    return {check["what"]: check for check in json.loads(done.stdout)["checks"]}


def test_a_quick_look_measures_every_line_and_never_passes(prunescope, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = prunescope("gate", "data/mini_llava", "--images", "4", "--out", out, "--json")
    assert done.exit_code == 1, done.output
    content = json.loads(done.stdout)
    assert (content["passed"], content["quick_look"], content["model"]) == (False, True, "data/mini_llava")
    found = checks(done)
    for task in FLOORS:
        assert f"{task}, all tokens" in found
        assert f"{task}, lost by the oracle at 64" in found
        assert found[f"{task}, lost by the oracle at 64, compact ids"]["value"] is not None
    rows = pd.read_csv(out / "accuracy.csv").set_index(["pruner", "task"])["estimate"]
    assert found["mean of all tasks, all tokens"]["value"] == pytest.approx(rows["none", "mean"], abs=1e-5)
    lost = rows["none", "text"] - rows["random", "text"]
    assert found["text, lost by random at 64"]["value"] == pytest.approx(lost, abs=1e-5)
    assert found["images left out by a quick look"]["verdict"] == "FAILED"
    assert found["test images"]["value"] == 4
    assert found["mean of all tasks, all tokens"]["verdict"] == "passed"
    assert found["model folder, megabytes"]["value"] == pytest.approx(megabytes(embedded_folder()))
    assert found["packed answers unlike those of `generate`, of 60"]["value"] == 0
    assert found["minutes for it on 2 cores"]["most"] == 15
    told = found["mean, lost by FastV after layer 2 at 64"]
    assert (told["verdict"], told["value"] is not None) == ("told", True)
    assert found["split-half correlation of the pruners at 64"]["least"] == 0.9

    written = {path: path.stat().st_mtime_ns for path in (out / "answers").rglob("*.parquet")}
    again = prunescope("gate", "data/mini_llava", "--images", "4", "--out", out)
    assert again.exit_code == 1
    assert again.stdout.splitlines()[-2:] == ["gate: failed", f"open {out / 'gate.csv'}"]
    assert "a quick look at 4 of 1080 images" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in (out / "answers").rglob("*.parquet")} == written


def test_weights_of_noise_miss_what_the_model_reaches(prunescope, tmp_path: Path) -> None:
    noise = shutil.copytree(embedded_folder(), tmp_path / "noise")
    generator = torch.Generator().manual_seed(0)
    weights = load_file(noise / "model.safetensors")
    drawn = {name: 0.02 * torch.randn(w.shape, generator=generator).to(w.dtype) for name, w in weights.items()}
    save_file(drawn, noise / "model.safetensors", metadata={"format": "pt"})
    done = prunescope("gate", noise, "--images", "1", "--out", tmp_path / "out", "--json")
    assert done.exit_code == 1, done.output
    mean = checks(done)["mean of all tasks, all tokens"]
    assert mean["verdict"] == "FAILED"
    assert mean["value"] < 0.3
    ranking = checks(done)["split-half correlation of the pruners at 64"]
    assert (ranking["value"], ranking["verdict"]) == (None, "FAILED")
    assert ranking["note"] == "every task must occur in at least 2 images"


@pytest.fixture
def measured_before(monkeypatch: pytest.MonkeyPatch):
    """Lets the gate judge tables that were measured on the whole split, with some accuracies replaced."""

    def put(**replaced: float) -> None:
        accuracy = pd.read_csv(MEASURED / "accuracy.csv")
        for task, value in replaced.items():
            accuracy.loc[(accuracy["pruner"] == "none") & (accuracy["task"] == task), "estimate"] = value
        names = ("reliability", "needed", "fastv", "compact", "packed")
        tables = {name: pd.read_csv(MEASURED / f"{name}.csv") for name in names}
        nothing = {"trainings": None, "time": None, "left_out": 0, "unranked": ""}
        measured = Measured(accuracy, dict.fromkeys(FLOORS, 0.1), **tables, **nothing)
        monkeypatch.setattr("analysis.evaluation.evaluate", lambda *_, **__: pd.DataFrame())
        monkeypatch.setattr("analysis.evaluation.gate.measure", lambda *_, **__: measured)

    return put


def test_exit_codes_follow_from_the_lines(prunescope, tmp_path: Path, measured_before) -> None:
    measured_before()
    done = prunescope("gate", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "FAILED" not in done.stdout
    assert done.stdout.splitlines()[-2] == "gate: passed"
    measured_before(spatial=0.79)
    done = prunescope("gate", "--out", tmp_path / "out")
    assert done.exit_code == 1
    failed = [line for line in done.stdout.splitlines() if "FAILED" in line]
    assert failed
    assert failed[0].startswith("spatial, all tokens")
    table = pd.read_csv(tmp_path / "out" / "gate.csv").set_index("what")
    assert table.loc["spatial, all tokens", ["value", "least", "verdict"]].tolist() == [0.79, 0.8, "FAILED"]


def test_too_many_images_are_refused(prunescope, tmp_path: Path) -> None:
    done = prunescope("gate", "--images", "2000", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "`images` must be in [1, 1080]" in done.stderr
