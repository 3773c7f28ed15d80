"""`prunescope doctor`: what is there, what is broken, and the command that mends it."""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path

import pytest

from analysis.commands import doctor, embedded_data
from analysis.commands.model_option import embedded_folder

DATA = embedded_folder().parent


def findings(done) -> dict[str, dict]:
    return {entry["what"]: entry for entry in json.loads(done.stdout)["findings"]}


def test_a_healthy_installation(prunescope) -> None:
    done = prunescope("doctor", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["healthy"] is True
    found = findings(done)
    for name in ("torch", "transformers", "numba", "ortools"):
        assert found[name]["found"] == metadata.version(name)
    assert {"cpu", "threads", "embedded model", "files"} <= set(found)
    extras = [entry for entry in found.values() if entry["area"] == "extra"]
    assert {"cluster", "docs", "lmms"} <= {entry["what"] for entry in extras}
    for entry in extras:
        assert (entry["state"] == "missing") == (entry["remedy"] == f"pip install 'prunescope[{entry['what']}]'")


def test_the_table_says_it_too(prunescope) -> None:
    done = prunescope("doctor")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "everything required is there"


@pytest.mark.parametrize(
    ("requirement", "found", "remedy"),
    [
        ("no-such-package>=2", "not installed", "pip install 'no-such-package>=2'"),
        ("numpy>=99", metadata.version("numpy"), "pip install --upgrade 'numpy>=99'"),
    ],
)
def test_what_is_required_and_absent_or_old_is_broken(
    prunescope, monkeypatch: pytest.MonkeyPatch, requirement: str, found: str, remedy: str
) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: ["rich>=1", requirement])
    done = prunescope("doctor", "--json")
    assert done.exit_code == 1
    (broken,) = [entry for entry in findings(done).values() if entry["state"] == "broken"]
    assert (broken["found"], broken["remedy"]) == (found, remedy)


def test_an_absent_extra_is_no_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: ["rich>=1", "no-such-package; extra == 'lmms'"])
    assert set(doctor._requirements("")) == {"rich"}
    lmms = next(finding for finding in doctor._extras() if finding.what == "lmms")
    assert lmms[2:] == ("lacks no-such-package", "missing", "pip install 'prunescope[lmms]'")


def test_every_data_file_has_a_checksum() -> None:
    stated = embedded_data.checksums()
    read = {path for folder in ("instances", "mini_vqa", "published") for path in (DATA / folder).iterdir()}
    assert {path for path in read if path.suffix != ".md"} == set(stated)
    assert not [path for path, digest in stated.items() if embedded_data.damage(path, digest)]


def test_damaged_and_missing_data_is_named(prunescope, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = shutil.copytree(DATA, tmp_path / "data", ignore=shutil.ignore_patterns("make", "*.jsonl", "mini_llava_*"))
    with (data / "mini_vqa" / "test.parquet").open("ab") as file:
        file.write(b"x")
    (data / "published" / "efficiency.csv").unlink()
    monkeypatch.setattr(embedded_data, "embedded_folder", lambda: data / "mini_llava")
    done = prunescope("doctor", "--json")
    assert done.exit_code == 1
    broken = [entry["found"] for entry in json.loads(done.stdout)["findings"] if entry["state"] == "broken"]
    assert sorted(broken) == [
        "mini_vqa/test.parquet is not the file that its card describes",
        "published/efficiency.csv cannot be read (No such file or directory)",
    ]
    assert "something required is broken" in prunescope("doctor").stdout
