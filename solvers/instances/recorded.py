"""The real instances of the data folder: tokens of the embedded model on pictures of the embedded benchmark."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from ..files import data_folder, replacing
from ..names import nearest
from ..problem import Problem

FORMAT = "prunescope-instance-1"
SUFFIX = ".safetensors"
SIGNALS = ("cls", "relevance", "attention_map")


def names() -> tuple[str, ...]:
    """Names of the real instances, ascending; those of n = 2880 start with "mosaic".

    Raises
    ------
    FileNotFoundError
        If the data folder is not there.
    """
    folder = data_folder("instances")
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder of instances at {folder}")
    return tuple(sorted(path.stem for path in folder.iterdir() if path.suffix == SUFFIX and path.is_file()))


def load(name: str, budget: int = 64) -> Problem:
    """The real instance `name`.

    Projected tokens as features [token, 128], the signals "cls" (attention of the CLS token) and "relevance" (mean
    cosine with the words of a question), the embeddings of these words as queries, and for some the map of attention
    among the tokens as signal "attention_map". `data/instances/README.md` says how they came about and what they are
    not.

    Parameters
    ----------
    name
        One of `names()`.
    budget
        Number of tokens to keep, in [1, n].

    Raises
    ------
    KeyError
        For an unknown name; the nearest one is suggested.
    ValueError
        If the budget is not in [1, n].
    OSError
        If the file is damaged.

    Examples
    --------
    >>> load("mini_vqa_000", budget=32)
    Problem('mini_vqa_000', keep 32 of 576, features [576, 128], signals ['attention_map', 'cls', 'relevance'])
    """
    # Only listed names become paths, so that no name leads out of the folder.
    return read_instance(data_folder("instances") / f"{nearest(name, names(), 'instance')}{SUFFIX}").with_budget(budget)


def write_instance(problem: Problem, path: str | os.PathLike[str], about: dict[str, str]) -> None:
    """Write a problem with features to `path` as safetensors in one atomic step; equal problems give equal bytes.

    Features, queries and attention map are stored in float16, other signals in float32.

    Parameters
    ----------
    problem
        What is written; signals other than "cls", "relevance" and "attention_map", constraint and budget are not.
    path
        Where to.
    about
        Where the problem comes from; kept in the header.
    """
    from safetensors.numpy import save

    assert problem.features is not None
    arrays: dict[str, npt.NDArray[Any]] = {"features": problem.features.astype(np.float16)}
    arrays |= {name: problem.signals[name].astype(np.float32) for name in SIGNALS[:2]}
    if "attention_map" in problem.signals:
        arrays["attention_map"] = problem.signals["attention_map"].astype(np.float16)
    if problem.queries is not None:
        arrays["queries"] = problem.queries.astype(np.float16)
    if problem.groups is not None:
        arrays["groups"] = problem.groups.astype(np.uint8)
    header = {"format": FORMAT, "id": problem.id, "grid": problem.grid, "about": about}
    # One entry: several would stand in the file in an order that changes from run to run.
    content = save(arrays, metadata={"instance": json.dumps(header, sort_keys=True)})
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def read_instance(path: str | os.PathLike[str]) -> Problem:
    """Read what `write_instance` wrote, with a budget of 1.

    Raises
    ------
    OSError
        If the file is missing, damaged, or not an instance.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})["instance"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']!r}")
        return Problem.from_features(
            arrays["features"],
            budget=1,
            signals={name: arrays[name] for name in SIGNALS if name in arrays},
            grid=header["grid"],
            groups=arrays.get("groups"),
            queries=arrays.get("queries"),
            id=header["id"],
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no instance file at {path}") from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise OSError(f"{path} is damaged or not an instance file: {error}") from error
