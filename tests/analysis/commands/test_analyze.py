"""`prunescope analyze` on a captured dump."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr

from analysis import metrics, open_dump
from analysis.commands.analyze import IDENTITY


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Attention of the embedded model on two pictures."""
    from typer.testing import CliRunner

    from analysis.cli import app

    store = tmp_path_factory.mktemp("dump") / "attention.zarr"
    done = CliRunner().invoke(app, ["capture", "--limit", "2", "--out", str(store)])
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines()[-1] == f"next: prunescope analyze {store}"
    return store


def test_tables_are_those_of_python_and_every_figure_is_drawn(prunescope, dump: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = prunescope("analyze", dump, "--out", out)
    assert done.exit_code == 0, done.output
    last = done.stdout.splitlines()[-1]
    assert last == f"open {out / 'figures' / 'dispersion.png'}"
    assert Path(last.removeprefix("open ")).is_file()
    opened = open_dump(dump)
    expected = metrics.summarise(metrics.measure(opened), (24, 24))
    found = pd.read_csv(out / "tables" / "attention.csv")
    pd.testing.assert_frame_equal(found, expected, rtol=1e-4, check_dtype=False)
    drawn = {path.stem for path in (out / "figures").glob("*.png")}
    assert {"dispersion", "shift", "mass_curves", "index_profile", "selection_frequency"} <= drawn
    assert drawn == {path.stem for path in (out / "figures").glob("*.pdf")}
    tables = {path.stem for path in (out / "tables").iterdir()}
    assert {"quartiles", "mass_curves", "profile", "selection_frequency", "layer_agreement"} <= tables


def test_parquet_heads_and_json(prunescope, dump: Path, tmp_path: Path) -> None:
    command = ["analyze", dump, "--out", tmp_path / "out", "--format", "parquet", "--heads", "--no-figures", "--json"]
    done = prunescope(*command)
    (content,) = json.loads(done.stdout)
    assert content["grid"] == "24x24"
    assert content["figures"] == []
    by_head = pd.read_parquet(tmp_path / "out" / "tables" / "attention_by_head.parquet")
    assert by_head["head"].min() == 1
    measured = pd.read_parquet(tmp_path / "out" / "tables" / "attention.parquet")
    assert [row["estimate"] for row in content["attention"]] == pytest.approx(measured["estimate"].tolist())
    assert prunescope(*command).stdout == done.stdout


def test_every_grid_of_a_tree_has_its_folder(prunescope, dump: Path, tmp_path: Path, monkeypatch) -> None:
    part = open_dump(dump)
    tree = xr.DataTree(children={"24x24": xr.DataTree(part), "other": xr.DataTree(part.isel(image=[1]))})
    monkeypatch.setattr("analysis.capture.open_dumps", lambda *_, **__: tree)
    done = prunescope("analyze", dump, "--out", tmp_path / "out", "--no-figures")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == f"open {tmp_path / 'out'}"
    for grid, images in (("24x24", 2), ("other", 1)):
        assert f"{images} images of {grid} tokens" in done.stdout
        assert set(pd.read_csv(tmp_path / "out" / grid / "tables" / "attention.csv")["images"]) == {images}


def test_a_folder_belongs_to_one_dump(prunescope, dump: Path, tmp_path: Path) -> None:
    about = {name: "other" for name in IDENTITY} | {"command": "analyze"}
    (tmp_path / "prunescope.json").write_text(json.dumps(about))
    done = prunescope("analyze", dump, "--out", tmp_path)
    assert done.exit_code == 2
    assert "holds results of model 'other', this run has 'data/mini_llava'" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nothing.zarr"], "there is no attention dump at"),
        (["{dump}", "--format", "excel"], "unknown table format 'excel'"),
        (["{dump}", "--keep", "577"], "`keep` must be in [1, 576], got 577"),
    ],
)
def test_mistakes_are_one_line(prunescope, dump: Path, tmp_path: Path, options: list[str], message: str) -> None:
    done = prunescope("analyze", *(option.format(dump=dump) for option in options), "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_a_folder_that_is_no_dump_is_named(prunescope, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "note.txt").write_text("mine")
    done = prunescope("analyze", tmp_path / "x", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "is not an attention dump" in done.stderr
    assert not (tmp_path / "out").exists()
