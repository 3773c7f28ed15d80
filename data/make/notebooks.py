"""Run the notebooks again and store what they put out: `python -m data.make.notebooks [01 04 ...]`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import nbformat
import typer
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[2] / "notebooks"
QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
"""Environment of the kernels: no bars, which differ from run to run, no network, and no fight for cores."""


def notebooks(folder: Path = FOLDER) -> list[Path]:
    """The notebooks, in the order of their numbers."""
    return sorted(folder.glob("*.ipynb"))


def executed(path: Path, start: Path, *, timeout: int = 300) -> NotebookNode:
    """The notebook with the outputs of a run in a fresh kernel.

    Parameters
    ----------
    path
        The notebook; it is not changed.
    start
        Folder in which the kernel starts.
    timeout
        Seconds that one cell may take.

    Raises
    ------
    RuntimeError
        If a cell wrote to standard error, which is where warnings go.
    nbclient.exceptions.CellExecutionError
        If a cell failed.
    """
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    resources = {"metadata": {"path": os.fspath(start)}}
    client = NotebookClient(notebook, timeout=timeout, kernel_name="python3", record_timing=False, resources=resources)
    client.execute(env={**os.environ, **QUIET})
    for cell in code_cells(notebook):
        said = "".join(output["text"] for output in cell.outputs if output.get("name") == "stderr")
        if said:
            raise RuntimeError(f"cell {cell.id} of {path.name} wrote to standard error: {said}")
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Its cells of code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def store(path: Path) -> None:
    """Run the notebook in its own folder and write it back, without what differs from machine to machine."""
    notebook = executed(path, path.parent)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata = {}
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def main(
    only: Annotated[list[str] | None, typer.Argument(help="numbers of notebooks; all if none is named")] = None,
) -> None:
    """Run and store."""
    for path in notebooks():
        if not only or path.name[:2] in only:
            store(path)
            typer.echo(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    typer.run(main)
