"""Problems on disk: an uncompressed .npz of plain arrays and one JSON text; nothing in it is ever executed."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .constraints import CONSTRAINTS, AbstractConstraint
from .files import replacing
from .names import nearest

FORMAT = "prunescope-problem-2"
OLDER_FORMAT = "prunescope-problem-1"
"""Holds no constraint, and the names of signals as those of arrays."""
ARRAYS = ("features", "similarity", "groups", "queries")
Array = npt.NDArray[Any]


def write_problem(
    path: str | os.PathLike[str],
    about: Mapping[str, Any],
    constraint: AbstractConstraint,
    arrays: Mapping[str, Array],
    signals: Mapping[str, Array],
) -> None:
    """Write the parts of a problem in one atomic step; see `Problem.save`."""
    # Signals go by number: a zip archive does not keep every character of a name.
    text = json.dumps({**about, "format": FORMAT, "constraint": _plain(constraint), "signals": list(signals)})
    numbered = {f"signal:{place}": array for place, array in enumerate(signals.values())}
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, about=np.array(text), **arrays, **numbered)  # type: ignore[arg-type]


def read_problem(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Arguments of `Problem` that a file holds.

    Raises
    ------
    OSError
        If the file is missing, damaged, or not a problem.
    """
    try:
        # Opened here, since np.load leaves a file that it cannot read open.
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays.pop("about")))
        if about["format"] == OLDER_FORMAT:
            signals = {name[7:]: array for name, array in arrays.items() if name.startswith("signal:")}
        elif about["format"] == FORMAT:
            signals = {str(name): arrays[f"signal:{place}"] for place, name in enumerate(about["signals"])}
        else:
            raise ValueError(f"format {about['format']!r}")
        return {
            "features": arrays.get("features"),
            "given_similarity": arrays.get("similarity"),
            "groups": arrays.get("groups"),
            "queries": arrays.get("queries"),
            "signals": signals,
            "constraint": _constraint(about["constraint"] if about["format"] == FORMAT else {"class": "Cardinality"}),
            **{name: about[name] for name in ("budget", "grid", "metric", "id")},
        }
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no problem file at {path}") from error
    except (*DAMAGE, KeyError) as error:
        raise damaged(path, error) from error


DAMAGE = (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, struct.error, NotImplementedError, RuntimeError)
"""What NumPy, the zip archive and the JSON text raise where a byte is wrong; the last two where one asks for a feature
of zip archives that there is not, or claims that the file is encrypted."""


def damaged(path: str | os.PathLike[str], error: Exception) -> OSError:
    """The error to raise for a file that is there and cannot be used."""
    return OSError(f"{path} is damaged or not a problem file: {error}")


def _plain(constraint: AbstractConstraint) -> dict[str, Any]:
    if type(constraint) not in CONSTRAINTS:
        known = ", ".join(kind.__name__ for kind in CONSTRAINTS)
        raise ValueError(f"only problems under {known} can be saved, got {constraint!r}")
    plain = {item.name: getattr(constraint, item.name) for item in fields(constraint)}
    return {
        "class": type(constraint).__name__,
        **{name: _plain(value) if isinstance(value, AbstractConstraint) else value for name, value in plain.items()},
    }


def _constraint(plain: Mapping[str, Any]) -> AbstractConstraint:
    kinds = {kind.__name__: kind for kind in CONSTRAINTS}
    kind = kinds[nearest(str(plain["class"]), kinds, "constraint")]
    parameters = {name: value for name, value in plain.items() if name != "class"}
    return kind(**{name: _constraint(v) if isinstance(v, dict) else _frozen(v) for name, v in parameters.items()})


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
