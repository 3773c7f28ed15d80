"""`prunescope figures` as a user types it: what is written, what is left out and why."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.capture import capture_dataset
from analysis.commands.figure_inputs import MEASURED, READERS, AbsentError, Results
from analysis.evaluation import MiniVqa
from analysis.figures.paper import PAPER, PAPER_TABLES
from analysis.figures.venues import VENUES
from analysis.models import Vlm
from solvers import Greedy, MaxMin, Problem, PublishedRule, Random, TopK, UniformGrid, compare, instances

SMALL = Path(__file__).parents[1] / "figures" / "latency_of_small_models.csv"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a study writes it: runs of some solvers on two shipped instances, and the tables of the package."""
    folder = tmp_path_factory.mktemp("study")
    problems = [replace(instances.load(f"mini_vqa_{at:03d}"), id=f"image {at}") for at in (1, 2)]
    chosen = [PublishedRule("divprune"), PublishedRule("fastervlm"), Random(), UniformGrid(), TopK(), Greedy()]
    compare(problems, chosen, MaxMin(), time_limit=1.0, progress=False).save(folder / "selection.parquet")
    (folder / "tables").mkdir()
    for name in ("accuracy", "selection"):
        (folder / "tables" / f"{name}.csv").write_bytes((MEASURED / f"{name}.csv").read_bytes())
    return folder


def test_pdf_of_the_width_of_the_venue_and_a_sheet_that_includes_it(prunescope, tmp_path: Path) -> None:
    out = tmp_path / "figs"
    done = prunescope("figures", "--venue", "acl", "--only", "shift", "--only", "gap_table", "--out", out)
    assert done.exit_code == 0, done.output
    assert f"wrote {out / 'shift.pdf'}\n" in done.stdout
    assert done.stdout.splitlines()[-1].startswith(f"open {out / 'figures.tex'}: 2 figures and tables")
    assert sorted(path.name for path in out.glob("[!p]*")) == ["figures.tex", "gap_table.tex", "shift.pdf"]
    (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ", (out / "shift.pdf").read_bytes())
    assert float(box) == pytest.approx(160 / 25.4 * 72, abs=1e-3)
    sheet = (out / "figures.tex").read_text(encoding="utf-8")
    assert "\\begin{figure*}[t]\n\\centering\n\\includegraphics{shift}\n\\caption{Share of visual attention" in sheet
    assert "an even share is 25 \\%." in sheet
    assert "\\input{gap_table}" in sheet
    assert sheet.count("\\begin{") == sheet.count("\\end{") == 2
    assert (out / "gap_table.tex").read_text(encoding="utf-8").count("\\toprule") == 1


def test_formats_and_json(prunescope, tmp_path: Path) -> None:
    done = prunescope(
        "figures", "--only", "score_accuracy", "--format", "png,pdf", "--dpi", 60, "--out", tmp_path / "new", "--json"
    )
    content = json.loads(done.stdout)
    assert [Path(path).name for path in content["files"]["score_accuracy"]] == [
        "score_accuracy.png", "score_accuracy.pdf"
    ]  # fmt: skip
    assert all(Path(path).is_file() for path in content["files"]["score_accuracy"])
    assert content["left_out"] == {}


def test_what_a_study_holds_is_drawn_and_the_rest_named_with_its_reason(
    prunescope, study: Path, tmp_path: Path
) -> None:
    done = prunescope("figures", "--results", study, "--out", tmp_path / "a", "--format", "png", "--dpi", 50,
                      "--latency", write_latency(tmp_path))  # fmt: skip
    assert done.exit_code == 0, done.output
    written = {Path(line.split()[1]).stem for line in done.stdout.splitlines() if line.startswith("wrote ")}
    assert written == {
        "accuracy_vs_budget", "accuracy_by_task", "accuracy_vs_cost", "accuracy_vs_latency", "certified_gap",
        "performance_profile", "critical_difference", "gap_versus_time", "pareto", "overlap", "kept_tokens",
        "accuracy_table", "task_table", "gap_table", "cost_table",
    }  # fmt: skip
    left_out = [line for line in done.stdout.splitlines() if line.startswith("left out ")]
    assert {name for line in left_out for name in line.split(":")[0].removeprefix("left out ").split(", ")} == {
        entry.name for entry in (*PAPER, *PAPER_TABLES)
    } - written
    told = "\n".join(left_out)
    assert f"dispersion: no attention.csv in {study}; `prunescope study --out DIR` writes it, --results DIR" in told
    assert "flops_vs_latency, roofline: llava-1.5-7b has 576 visual tokens, the table 36: it is of a smaller" in told
    assert "score_accuracy: no causes_usefulness.csv" in told


def write_latency(folder: Path) -> Path:
    path = folder / "latency.parquet"
    pd.read_csv(SMALL).to_parquet(path)
    return path


def test_a_latency_table_may_be_csv_and_a_damaged_one_is_named(prunescope, tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(Results(MEASURED, SMALL).latency, pd.read_csv(SMALL))
    damaged = tmp_path / "latency.parquet"
    damaged.write_bytes(b"PAR1 and no more")
    done = prunescope("figures", "--only", "roofline", "--latency", damaged, "--out", tmp_path / "figs")
    assert done.exit_code == 2
    assert "latency.parquet is damaged or not a table" in " ".join(done.stderr.split())


def test_the_example_is_what_the_rules_of_the_study_kept(study: Path) -> None:
    example = Results(study).get("example")
    samples = {sample.image_id: sample for sample in MiniVqa(images=3)}
    assert example.image_id in (1, 2)
    assert example.image == samples[example.image_id].image
    assert set(example.kept) == {"divprune", "fastervlm", "Random", "UniformGrid"}
    problem = replace(instances.load(f"mini_vqa_{example.image_id:03d}"), id="x")
    assert example.kept["divprune"] == sorted(PublishedRule("divprune").solve(problem, MaxMin()).selected)


def test_the_shipped_example_needs_tokens_and_is_of_the_published_rules() -> None:
    example = Results(MEASURED).get("example")
    assert len(example.needed) > 0
    assert {"vispruner", "divprune", "Random"} <= set(example.kept)
    assert all(len(tokens) <= 64 and sorted(set(tokens)) == tokens for tokens in example.kept.values())


def test_attention_is_read_from_the_store_that_was_written_last(tiny_vlm: Vlm, tmp_path: Path) -> None:
    samples = list(MiniVqa(images=2))
    for name in ("a", "b"):
        capture_dataset(tiny_vlm, samples[: 1 + (name == "b")], str(tmp_path / "work" / name / "attention.zarr"))
    results = Results(tmp_path)
    assert results.dump.sizes["image"] == 2
    profile = results.get("profile")
    assert profile is results.get("profile")  # read once
    weights = results.dump["last"].mean(("image", "head")).isel(layer=-1).to_numpy()
    last = profile[(profile["source"] == "text last token") & (profile["layer"] == profile["layer"].max())]
    np.testing.assert_allclose(last["weight"], weights, rtol=1e-5)
    assert set(results.get("heads").columns) >= {"source", "layer", "head", "entropy"}
    with pytest.raises(AbsentError, match=r"no selection\.parquet"):
        results.get("maps")


def test_problems_of_other_pictures_are_no_example(tmp_path: Path, make_problem) -> None:
    problem: Problem = make_problem(rows=4, columns=4, budget=4, id="image 0")
    compare([problem], [Greedy(), Random()], MaxMin(), progress=False).save(tmp_path / "selection.parquet")
    with pytest.raises(AbsentError, match="no picture of the embedded benchmark is among the problems"):
        Results(tmp_path).get("example")


def test_every_input_has_a_reader_and_none_is_idle() -> None:
    assert {name for entry in (*PAPER, *PAPER_TABLES) for name in entry.inputs} == set(READERS)
    with pytest.raises(KeyError, match="unknown input 'accuracies'; did you mean 'accuracy'"):
        Results(MEASURED).get("accuracies")


def test_help_names_every_venue(prunescope) -> None:
    text = " ".join(re.sub(r"[│╭╰─╮╯]", " ", prunescope("figures", "--help").stdout).split())
    assert all(entry.name in text for entry in VENUES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--venue", "cvrp"], "unknown venue 'cvrp'; did you mean 'cvpr'?"),
        (["--only", "certified_gaps"], "unknown figure 'certified_gaps'; did you mean 'certified_gap'?"),
        (["--format", "pdf,jpg"], "unknown format 'jpg'; did you mean 'png'?"),
        (["--results", "nowhere"], "`--results` must be a folder, got nowhere"),
        (["--latency", "nowhere"], "`--latency` must be a file, got nowhere"),
        (["--only", "roofline"], "cannot draw roofline: no latency table at"),
    ],
)
def test_mistakes_are_explained(prunescope, arguments: list[str], message: str, tmp_path: Path) -> None:
    done = prunescope("figures", "--out", tmp_path / "figs", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.output


def test_damaged_and_empty_folders_are_told_apart(prunescope, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    done = prunescope("figures", "--results", folder, "--out", tmp_path / "figs")
    assert done.exit_code == 2
    assert "cannot draw dispersion: no attention.csv" in done.stderr
    (folder / "attention.csv").write_bytes(b"\xff\xfe\x00")
    done = prunescope("figures", "--results", folder, "--out", tmp_path / "figs")
    assert done.exit_code == 2
    assert "attention.csv is damaged or not a table" in done.stderr
    (folder / "attention.csv").write_text("a,b\n1,2\n")
    done = prunescope("figures", "--results", folder, "--out", tmp_path / "figs", "--only", "dispersion")
    assert "`attention` must have the columns source, layer, metric" in done.stderr


def test_files_of_somebody_else_are_not_overwritten(prunescope, tmp_path: Path) -> None:
    (tmp_path / "shift.pdf").write_bytes(b"mine")
    done = prunescope("figures", "--only", "shift", "--out", tmp_path)
    assert done.exit_code == 2
    assert (tmp_path / "shift.pdf").read_bytes() == b"mine"
