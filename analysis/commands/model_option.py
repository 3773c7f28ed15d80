"""Which model a command runs, and where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .completion import model_folders

if TYPE_CHECKING:
    from ..models import Vlm

EMBEDDED = "data/mini_llava"
"""The embedded model is named as in the repository, wherever that lies on this machine."""
Model = Annotated[
    str,
    typer.Argument(help="Folder or hub id; the embedded model by default.", autocompletion=model_folders),
]
Device = Annotated[str, typer.Option(help="Where the model runs, for example cuda.")]
Jobs = Annotated[int, typer.Option(help="Processes, each with a model of its own; -1 is one per core.")]


def loaded(model: str, device: str = "cpu") -> Vlm:
    """The model of that folder or hub id; the embedded one for an empty text, or for its name.

    Raises
    ------
    ValueError
        If there is no such device here.
    OSError, ValueError
        As `analysis.load`.
    """
    from ..models import load

    _check_device(device)
    folder = model_folder(model)
    vlm = load(folder or model, device=device)
    return replace(vlm, id=EMBEDDED) if folder == embedded_folder() else vlm


def for_processes(vlm: Vlm, model: str, n_jobs: int) -> Vlm:
    """`vlm` as what `loaded` was given, under an id by which other processes can load it too."""
    folder = model_folder(model)
    return vlm if n_jobs == 1 or folder is None else replace(vlm, id=str(folder))


def model_folder(model: str) -> Path | None:
    """The folder that is meant; None for the id of a hub repository."""
    if Path(model).is_dir() and model:
        return Path(model)
    return embedded_folder() if model in ("", EMBEDDED) else None


def embedded_folder() -> Path:
    """The embedded model's."""
    from solvers.files import data_folder

    return data_folder("mini_llava")


def _check_device(device: str) -> None:
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise ValueError(f"`--device` must be a device of PyTorch such as cpu or cuda, got {device!r}") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"`--device` must be available, got {device!r}: this PyTorch sees no CUDA device")
