"""The documentation: its examples run, its links lead somewhere, its tables and its reference can be filled."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy.typing
import pytest
from typer.testing import CliRunner

from analysis.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "notebooks" not in path.relative_to(DOCS).parts)
LINK = re.compile(r"!?\[[^\]]*\]\((?!https?:)([^)#\s]+)(#[^)\s]*)?\)")
FILES = re.compile(r"`((?:data|docs|notebooks|solvers|analysis|tests|benchmarks)/[\w./*-]*)`|`([A-Z]+\.md)`")
COMMANDS = re.compile(r"prunescope ([a-z]+)")

sys.path.append(str(DOCS))  # these modules are no package: Sphinx finds them in the same way
examples, measured_tables, notebook_pictures = map(
    importlib.import_module, ("examples", "measured_tables", "notebook_pictures")
)

page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(DOCS).as_posix())


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    """The extension that fills the pages; skipped where the docs extra is not installed."""
    pytest.importorskip("sphinx")
    return importlib.import_module("generated")


@pytest.mark.parametrize("path", examples.pages(), ids=lambda path: path.stem)
def test_examples_run_and_print_what_the_page_shows(path: Path, tmp_path: Path) -> None:
    # `python docs/examples.py` renews what the pages show, where it changed for a reason.
    assert examples.renewed(path, tmp_path) == path.read_text(encoding="utf-8")


def test_an_example_that_prints_something_else_would_be_found(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\nprint(x + 1)\n```\n\n```text\n3\n```\n\n```python\nx += 1\n```\n")
    assert examples.renewed(page, folder) == page.read_text().replace("3", "2")
    page.write_text("```python\nprint(end='')\n```\n")
    (folder / "data").unlink()
    with pytest.raises(RuntimeError, match=r"an example of page.md printed nothing"):
        examples.renewed(page, folder)


@page
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target, anchor in LINK.findall(text):
        found = (path.parent / target).resolve()
        assert found.is_file(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor[1:] in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, anchor


@page
def test_files_that_are_named_exist(path: Path) -> None:
    for folder, file in FILES.findall(path.read_text(encoding="utf-8")):
        name = (folder or file).rstrip("/")
        made_up = "your_" in name
        assert made_up or list(ROOT.glob(name)) or (ROOT / name).exists(), name


@page
def test_commands_that_are_named_exist(path: Path) -> None:
    known = CliRunner().invoke(app, ["--help"]).output
    for command in COMMANDS.findall(path.read_text(encoding="utf-8")):
        assert re.search(rf"\b{command}\b", known), command


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = set()
    for path in PAGES:
        for content in re.findall(r"^```\{toctree\}\n(.*?)^```$", path.read_text(), flags=re.MULTILINE | re.DOTALL):
            names = [line for line in content.splitlines() if line and not line.startswith(":")]
            listed |= {(path.parent / f"{name}.md").resolve() for name in names}
    assert {path.resolve() for path in PAGES} - listed == {(DOCS / "index.md").resolve()}


def test_the_page_of_solvers_is_what_the_command_writes() -> None:
    result = CliRunner().invoke(app, ["solvers", "--markdown"])
    assert (DOCS / "solvers.md").read_text() == result.output


def test_comments_are_filled(generated: ModuleType) -> None:
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        filled = generated.filled(text)
        assert "<!--" not in filled, path.name
        assert ("<!--" in text) == (filled != text)


def test_tables_have_rows_and_name_their_file() -> None:
    for entry in measured_tables.TABLES:
        lines = measured_tables.table(entry.__name__).splitlines()
        assert len(lines) > 4
        assert len({line.count(" | ") for line in lines if line.startswith("| ")}) == 1
        assert (ROOT / re.search(r"`(data/measured/\w+\.csv)`", lines[-1])[1]).is_file()
        assert not re.search(r"\bnan\b", "".join(lines))


@pytest.mark.parametrize("name", ["solvers", "solvers.rules", "analysis.metrics", "analysis.pruning.pruners"])
def test_the_reference_has_every_public_name(generated: ModuleType, name: str) -> None:
    module = importlib.import_module(name)
    public = {entry for entry in generated.public_names(module) if not entry.startswith("_")}
    pages = "\n".join(generated.filled(path.read_text(encoding="utf-8")) for path in PAGES if path.parent.name == "api")
    entries = set(re.findall(r"^\.\. (?:autoclass|autofunction|py:data):: (\S+)$", pages, flags=re.MULTILINE))
    assert public
    assert public <= entries


def test_a_name_that_is_not_exported_would_be_found(generated: ModuleType) -> None:
    module = importlib.import_module("solvers")
    with pytest.raises(ValueError, match="exports no 'Greedyy'"):
        list(generated.groups(module, "Solvers: Greedyy"))
    with pytest.raises(ValueError, match="stands in two groups"):
        list(generated.groups(module, "One: Greedy\nTwo: Greedy"))


def test_a_picture_comes_with_the_code_that_drew_it() -> None:
    page = notebook_pictures.picture("02_dispersion", "figures.dispersion(")
    assert page.startswith("![figures.dispersion( of notebook 02](data:image/png;base64,iVBOR")
    assert "```python\nmeasured = pd.read_csv" in page
    with pytest.raises(ValueError, match="one picture by 'nothing'"):
        notebook_pictures.picture("02_dispersion", "nothing")


def test_numbers_have_two_digits_that_count() -> None:
    assert [measured_tables.two_digits(value) for value in (0.0123, 1.26, 12.6, 1260.4)] == [
        "0.012",
        "1.3",
        "13",
        "1260",
    ]
    assert [measured_tables.share(value) for value in (0.0, 1e-7, 0.000215, 0.5)] == [
        "0 %",
        "below 0.001 %",
        "0.021 %",
        "50 %",
    ]
    assert [measured_tables.duration(value) for value in (0.19, 260.0, 1300.0)] == ["0.19 ms", "260 ms", "1.3 s"]


def test_a_table_holds_what_was_measured() -> None:
    gaps = measured_tables.read("certified_gaps").set_index(["objective", "n", "budget", "solver"])
    expected = measured_tables.share(gaps.loc[("FacilityLocation", 576, 64, "Greedy"), "gap_mean"])
    row = next(line for line in measured_tables.gaps().splitlines() if line.startswith("| `Greedy` |"))
    assert row.split(" | ")[1].startswith(f"{expected} [")


def test_signatures_are_as_they_are_written(generated: ModuleType) -> None:
    spelled_out = generated.stringify_annotation(numpy.typing.ArrayLike, "smart")
    written = f"(rows: dict[str, {spelled_out}], by: TypeAliasForwardRef('Weights') | None, kept: list = <factory>)"
    plain = generated._readable(None, "", "", None, None, written, None)
    assert plain == ("(rows: dict[str, ArrayLike], by: Weights | None, kept: list = ...)", None)
    assert generated._readable(None, "", "", None, None, None, None) is None


def test_bars_of_docstrings_are_not_markup(generated: ModuleType) -> None:
    lines = ["|A n B| / `|A|` of [image, *rest]", "*args and a * b", ">>> x | y"]
    generated._as_text(None, "", "", None, None, lines)
    assert lines == [r"\|A n B\| / `|A|` of [image, \*rest]", r"\*args and a * b", ">>> x | y"]
