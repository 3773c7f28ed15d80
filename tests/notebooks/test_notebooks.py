"""Every notebook runs in a fresh kernel without a warning, and says what is stored in it.

One test per notebook, so that processes can share them. Half of them start in the repository, half in `notebooks`.
"""

from __future__ import annotations

import base64
from pathlib import Path

import nbformat
import pytest

from data.make.notebooks import FOLDER, code_cells, executed, notebooks

from .comparison import difference, pieces

LARGEST_PICTURE = 60_000
SCREEN = 45
"""Lines of code that a cell may have."""
WHERE = 'data = Path("data") if Path("data").is_dir() else Path("../data")'


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def test_the_eight_notebooks_are_there():
    assert [path.name[:3] for path in notebooks()] == [f"{number:02d}_" for number in range(1, 9)]


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_a_fresh_run_gives_what_is_stored(path: Path):
    stored = read(path)
    fresh = executed(path, (FOLDER.parent, FOLDER)[notebooks().index(path) % 2])
    wrong = []
    for before, after in zip(code_cells(stored), code_cells(fresh), strict=True):
        old, new = pieces(before), pieces(after)
        if [kind for kind, _ in old] != [kind for kind, _ in new]:
            wrong.append(f"{after.id}: stored {[kind for kind, _ in old]}, found {[kind for kind, _ in new]}")
            continue
        for (kind, text), (_, now) in zip(old, new, strict=True):
            found = difference(text, now)
            wrong += [f"{after.id} {kind}: {found}"] if found else []
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_what_is_stored_reads_well_on_a_code_host(path: Path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert notebook.cells[0].source.startswith("# ")
    assert "**Your checkpoint:**" in notebook.cells[0].source
    for cell in cells:
        assert len(cell.source.splitlines()) <= SCREEN
        for output in cell.outputs:
            assert output.output_type in ("execute_result", "display_data", "stream")
            assert output.get("name") != "stderr"
            picture = output.get("data", {}).get("image/png", "")
            assert len(base64.b64decode(picture)) <= LARGEST_PICTURE
            shown = str({kind: text for kind, text in output.get("data", {}).items() if kind != "image/png"})
            assert not any(place in shown for place in ("/tmp/", "/home/", "/Users/", "site-packages", "C:\\"))


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_data_is_found_from_both_folders(path: Path):
    lines = [line for cell in code_cells(read(path)) for line in cell.source.splitlines() if '"data' in line]
    assert all(line.startswith(WHERE) for line in lines)


class TestTheComparison:
    def test_numbers_may_differ_by_their_last_digit_and_white_space_is_none(self):
        assert difference("a  0.123\n b 5.0 %", "a 0.124 b 5.0 %") is None
        assert difference("12,721 rows", "12,722 rows") is None  # less than a thousandth
        assert difference("1.23e-05", "1.24e-05") is None

    @pytest.mark.parametrize(
        ("stored", "found"),
        [
            ("a 0.123", "a 0.126"),
            ("a 0.123", "b 0.123"),
            ("64 tokens", "63 tokens"),
            ("1.23e-05", "1.25e-05"),
            ("1.0", "1.0 2.0"),
            ("#0A43B0", "#0A43B1"),
            ("-3.5", "3.5"),
        ],
    )
    def test_anything_else_is_a_difference(self, stored: str, found: str):
        assert difference(stored, found) is not None

    def test_times_are_masked_and_sizes_are_not(self):
        assert difference("in 0.0123 s", "in 4.5 s") is None
        assert difference("in 12 shards", "in 13 shards") is not None

    def test_a_figure_counts_as_a_png_not_by_its_bytes(self):
        def cell(picture: str) -> nbformat.NotebookNode:
            data = {"image/png": picture, "text/plain": "<Figure size 1 x 1>"}
            return nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", data)])

        assert pieces(cell("iVBORw0KGgoAAAA")) == pieces(cell("iVBORw0KGgoBBBB"))
        assert pieces(cell("iVBORw0KGgoAAAA")) != pieces(cell("R0lGODlh"))
