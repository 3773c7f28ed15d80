"""`prunescope figures`: every figure and table of a methods paper, at the widths of a venue, from result files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from .frame import AsJson, show_json
from .output import output_folder

if TYPE_CHECKING:
    from ..figures.paper import PaperFigure, PaperTable
    from .figure_inputs import Results

FORMATS = ("pdf", "png")
SHEET = "figures.tex"


class Built(NamedTuple):
    """What was written, by entry, and why the others were not."""

    files: dict[str, list[Path]]
    left_out: dict[str, str]


def figures(
    venue: Annotated[
        str, typer.Option(help="cvpr, eccv, icml, neurips, iclr or acl: figures exactly as wide as its column or page.")
    ] = "",
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("figs"),
    results: Annotated[
        Path | None, typer.Option(help="Folder of a study; by default the measurements that come with the package.")
    ] = None,
    latency: Annotated[Path | None, typer.Option(help="Table of `python -m benchmarks.latency --out FILE`.")] = None,
    formats: Annotated[str, typer.Option("--format", help="pdf, png or both, with a comma between.")] = "pdf",
    only: Annotated[
        list[str] | None, typer.Option(help="Name of a figure or table; repeatable. An unknown one lists all.")
    ] = None,
    dpi: Annotated[int, typer.Option(min=50, max=1200, help="Dots per inch of pictures.")] = 300,
    as_json: AsJson = False,
) -> None:
    """Every figure and table of a methods paper from result files, and a LaTeX file that includes them.

    What cannot be drawn from the files is listed with its reason; that is no mistake unless --only asked for it.
    """
    from .figure_inputs import MEASURED, Results

    chosen, kinds = _chosen(only or []), _formats(formats)
    if results is not None and not results.is_dir():
        raise NotADirectoryError(f"`--results` must be a folder, got {results}")
    if latency is not None and not latency.is_file():
        raise FileNotFoundError(f"`--latency` must be a file, got {latency}")
    folder = output_folder(out, "figures")
    source, tell = Results(results or MEASURED, latency), _silent if as_json else _tell
    built = build(chosen, source, folder, venue=venue, formats=kinds, dpi=dpi, wrote=tell)
    if not built.files or (only and built.left_out):
        name, reason = next(iter(built.left_out.items()))
        raise ValueError(f"cannot draw {name}: {reason}")
    if as_json:
        show_json({"files": built.files, "left_out": built.left_out, "open": folder / SHEET})
        return
    for reason in dict.fromkeys(built.left_out.values()):
        names = [name for name, why in built.left_out.items() if why == reason]
        typer.echo(f"left out {', '.join(names)}: {reason}")
    typer.echo(f"open {folder / SHEET}: {len(built.files)} figures and tables, ready to be included")


def _tell(paths: Sequence[Path]) -> None:
    typer.echo("wrote " + ", ".join(str(path) for path in paths))


def _silent(paths: Sequence[Path]) -> None:
    del paths


def build(
    chosen: Sequence[PaperFigure | PaperTable],
    results: Results,
    out: Path,
    *,
    venue: str = "",
    formats: Sequence[str] = ("pdf",),
    dpi: int = 300,
    wrote: Callable[[Sequence[Path]], None] = _silent,
) -> Built:
    """Write the chosen figures and tables, and `SHEET`, into a folder that is there.

    `wrote` is called with the files of each as soon as they are written.

    Raises
    ------
    KeyError
        If there is no such venue.
    """
    from ..figures.paper import PaperFigure
    from ..figures.style import on_paper, write
    from .figure_inputs import AbsentError

    built = Built({}, {})
    sheet = [_HEAD]
    with on_paper(venue) if venue else nullcontext():
        for entry in chosen:
            try:
                inputs = [results.get(name) for name in entry.inputs]
                if isinstance(entry, PaperFigure):
                    panels = entry.draw(*inputs)
                    paths = [write(panels, out / f"{entry.name}.{kind}", dpi=dpi) for kind in formats]
                    sheet.append(_figure(entry, wide=panels.figure.get_figwidth() > _widest_column(venue)))
                else:
                    paths = [out / f"{entry.name}.tex"]
                    paths[0].write_text(entry.write(*inputs), encoding="utf-8")
                    sheet.append(_table(entry))
            except (AbsentError, ValueError) as error:  # a table may be there and hold too little
                built.left_out[entry.name] = str(error)
                continue
            built.files[entry.name] = paths
            wrote(paths)
    (out / SHEET).write_text("\n".join(sheet), encoding="utf-8")
    return built


_HEAD = "% \\usepackage{booktabs, graphicx}; figures are as wide as they are to be printed: do not scale them.\n"


def _widest_column(venue: str) -> float:
    from ..figures.style import COLUMN
    from ..figures.venues import venue as entry

    return entry(venue).column + 0.01 if venue else COLUMN + 0.2


def _figure(entry: PaperFigure, *, wide: bool) -> str:
    star = "*" if wide else ""
    return _float(f"figure{star}", f"\\includegraphics{{{entry.name}}}", entry.caption, f"fig:{entry.name}")


def _table(entry: PaperTable) -> str:
    return _float("table*", f"\\input{{{entry.name}}}", entry.caption, f"tab:{entry.name}")


def _float(environment: str, content: str, caption: str, label: str) -> str:
    from solvers.latex import escaped

    lines = [f"\\begin{{{environment}}}[t]", "\\centering", content, f"\\caption{{{escaped(caption)}}}"]
    return "\n".join([*lines, f"\\label{{{label}}}", f"\\end{{{environment}}}", ""])


def _chosen(only: Sequence[str]) -> list[Any]:
    from solvers.names import nearest

    from ..figures.paper import PAPER, PAPER_TABLES

    known = {entry.name: entry for entry in (*PAPER, *PAPER_TABLES)}
    wanted = {nearest(name, known, "figure") for name in only}
    return [entry for name, entry in known.items() if not only or name in wanted]


def _formats(text: str) -> list[str]:
    from solvers.names import nearest

    return list(dict.fromkeys(nearest(part.strip(), FORMATS, "format") for part in text.split(",")))
