"""What the figures of a paper are drawn from: the tables and stores of a results folder.

READERS is the whole list. A reader raises `AbsentError` with the sentence that is read where something is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from solvers import FacilityLocation, Random, Study, UniformGrid, instances
from solvers.files import data_folder
from solvers.names import nearest
from solvers.published import published_rules

from ..figures.paper import Example

if TYPE_CHECKING:
    import xarray as xr

MEASURED: Final = data_folder("measured")
"""Results that come with the package, of the embedded model."""
KEPT: Final = 64
"""Tokens of the qualitative example, and of the selection frequency."""
LOOKED_AT: Final = 20
"""Pictures among which an example is sought; as many instances are shipped."""
FROM_STUDY: Final = "`prunescope study --out DIR` writes it, --results DIR draws it"


class AbsentError(Exception):
    """An input that is not there; the text says what would write it."""


class Results:
    """A folder with results, read on demand and once.

    Parameters
    ----------
    folder
        That of `prunescope study`, or the shipped `data/measured`.
    latency
        Table of `benchmarks.latency`, Parquet or CSV; None looks for latency.parquet in the folder.
    """

    def __init__(self, folder: Path, latency: Path | None = None) -> None:
        self.folder = folder
        self._latency = latency
        self._known: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        """An input by its name in READERS.

        Raises
        ------
        AbsentError
            If the folder does not hold what it is made of.
        KeyError
            For an unknown name.
        ValueError, OSError
            If a file is damaged or of something else.
        """
        reader = READERS[nearest(name, READERS, "input")]
        if name not in self._known:
            self._known[name] = reader(self)
        return self._known[name]

    def table(self, name: str) -> pd.DataFrame:
        """A table that a study writes under tables/, and the shipped folder holds itself."""
        for path in (self.folder / "tables" / f"{name}.csv", self.folder / f"{name}.csv"):
            if path.is_file():
                return _read(path, pd.read_csv)
        raise AbsentError(f"no {name}.csv in {self.folder}; {_made_by(name)}")

    @cached_property
    def study(self) -> Study:
        """Every solver run of a study."""
        path = self.folder / "selection.parquet"
        if not path.is_file():
            raise AbsentError(f"no selection.parquet in {self.folder}; {FROM_STUDY}")
        return Study.load(path)

    @cached_property
    def dump(self) -> xr.Dataset:
        """The attention that a study captured; of several the one written last."""
        from ..capture import open_dump

        stores = sorted((self.folder / "work").glob("*/attention.zarr"), key=lambda path: path.stat().st_mtime)
        if not stores:
            raise AbsentError(f"no work/*/attention.zarr in {self.folder}; {FROM_STUDY}")
        return open_dump(str(stores[-1]))

    @cached_property
    def latency(self) -> pd.DataFrame:
        """Measured times of large models."""
        path = self._latency or self.folder / "latency.parquet"
        if not path.is_file():
            made = "`python -m benchmarks.latency --out FILE` measures it on a GPU, --latency FILE draws it"
            raise AbsentError(f"no latency table at {path}; {made}")
        return _read(path, pd.read_csv if path.suffix == ".csv" else pd.read_parquet)


def _read(path: Path, read: Callable[[Path], pd.DataFrame]) -> pd.DataFrame:
    try:
        return read(path)
    except (OSError, ValueError) as error:
        raise OSError(f"{path} is damaged or not a table: {str(error).splitlines()[0]}") from error


def _made_by(name: str) -> str:
    made = {"causes_quartiles": "causes", "causes_usefulness": "causes", "optimising": "optimising"}
    if name in made:
        return f"`python -m data.make.{made[name]}` writes it for the embedded model"
    return FROM_STUDY


def _cost(results: Results) -> pd.DataFrame:
    from ..study.summaries import cost_summary

    accuracy = results.get("accuracy")
    return cost_summary(accuracy) if {"flops", "kv_bytes"} <= set(accuracy.columns) else results.table("cost")


def _scores(results: Results) -> pd.DataFrame:
    rows = results.table("causes_usefulness")
    return rows[(rows["quantity"] == "accuracy") & (rows["task"] == "mean")]


def _quartile_kept(results: Results) -> pd.DataFrame:
    rows = results.table("causes_quartiles")
    return rows[rows["task"] == "mean"]


def _measured(function: str, **options: Any) -> Callable[[Results], pd.DataFrame]:
    """A table of `analysis.metrics` of the captured attention, as a study wrote it or computed from the dump."""

    def read(results: Results) -> pd.DataFrame:
        with suppress(AbsentError):
            return results.table(function)
        from .. import metrics

        frame: pd.DataFrame = getattr(metrics, function)(results.dump, **options)
        return frame

    return read


def _heads(results: Results) -> pd.DataFrame:
    with suppress(AbsentError):
        return results.table("cluster_heads")
    from ..metrics import cluster_heads, measure

    return cluster_heads(measure(results.dump, heads=True))


def _work(results: Results) -> pd.DataFrame:
    from ..figures import counted

    return counted(results.latency)


def _phases(results: Results) -> pd.DataFrame:
    from ..figures import phases_of

    return phases_of(results.latency)


def _device(results: Results) -> Any:
    from ..figures import device_of

    return device_of(results.latency)


def _of_study(method: str) -> Callable[[Results], Any]:
    """What `solvers.Study` returns, for all objectives and budgets together."""
    return lambda results: getattr(results.study, method)()


def _of_one_setting(method: str) -> Callable[[Results], Any]:
    """The same for the first objective and budget: others of the same image are no further evidence."""

    def read(results: Results) -> Any:
        first = results.study.frame.iloc[0]
        return getattr(results.study.where(objective=first["objective"], budget=int(first["budget"])), method)()

    return read


def _example(results: Results) -> Example:
    """The first picture whose question needs tokens, of a study or of the shipped instances; else the first."""
    from ..evaluation import MiniVqa

    shipped = results.folder.resolve() == MEASURED.resolve()
    kept_of = _kept_of_instance if shipped else _kept_in_study(results)
    telling = sorted(islice(MiniVqa(), LOOKED_AT), key=lambda sample: not len(sample.questions[0].needed))
    known = ((sample, kept) for sample in telling if (kept := kept_of(sample.image_id)))
    sample, kept = next(known, (None, {}))
    if sample is None:
        raise AbsentError("no picture of the embedded benchmark is among the problems of selection.parquet")
    question = sample.questions[0]
    assert MiniVqa.needed_grid is not None
    rows, columns = MiniVqa.needed_grid
    title = f"{question.question} {question.answer} ({KEPT} of {rows * columns} tokens)"
    return Example(sample.image_id, sample.image, title, (rows, columns), kept, question.needed.tolist())


def _kept_of_instance(image_id: int | str) -> dict[str, list[int]]:
    """What the published rules keep of a shipped instance; nothing where there is none of the picture."""
    name = f"mini_vqa_{image_id:03d}"
    if name not in instances.names():
        return {}
    problem, objective = instances.load(name, KEPT), FacilityLocation()
    chosen = [
        solver
        for solver in (*published_rules(), UniformGrid(), Random())
        if solver.supports(problem, objective) is None
    ]
    return {solver.name: sorted(map(int, solver.solve(problem, objective).selected)) for solver in chosen}


def _kept_in_study(results: Results) -> Callable[[int | str], dict[str, list[int]]]:
    """The same for the problems of a study, as its first objective and seed found them at `KEPT` tokens."""
    frame = results.study.solved
    shown = {solver.name for solver in (*published_rules(), UniformGrid(), Random())}
    rows = frame[(frame["n"] == 576) & (frame["budget"] == KEPT) & frame["solver"].isin(shown)]

    def kept(image_id: int | str) -> dict[str, list[int]]:
        own = rows[rows["problem"] == f"image {image_id}"].drop_duplicates("solver")
        return {
            str(name): sorted(map(int, tokens)) for name, tokens in zip(own["solver"], own["selected"], strict=True)
        }

    return kept


def _maps(results: Results) -> Mapping[str, Any]:
    from ..study.pictures import attention_maps_of

    example, dump = results.get("example"), results.dump
    at = np.flatnonzero(dump["image_id"].to_numpy() == example.image_id)
    if not at.size:
        raise AbsentError(f"image {example.image_id} is not in the attention that was captured")
    return attention_maps_of(dump.isel(image=slice(at[0], at[0] + 1)), tuple(dump.attrs["grid"]))


READERS: Final[dict[str, Callable[[Results], Any]]] = {
    "accuracy": lambda results: results.table("accuracy"),
    "agreement": _measured("layer_agreement"),
    "attention": lambda results: results.table("attention"),
    "cost": _cost,
    "curves": _measured("mass_curves"),
    "device": _device,
    "example": _example,
    "frequency": _measured("selection_frequency", keep=KEPT),
    "front": _of_study("pareto"),
    "heads": _heads,
    "histogram": _measured("score_histogram"),
    "latency": lambda results: results.latency,
    "maps": _maps,
    "optimising": lambda results: results.table("optimising"),
    "overlap": _of_one_setting("overlap"),
    "performance": _of_one_setting("performance_profile"),
    "phases": _phases,
    "profile": _measured("profile"),
    "progress": _of_study("gap_versus_time"),
    "quartile_kept": _quartile_kept,
    "quartiles": lambda results: results.table("quartiles"),
    "ranks": _of_one_setting("critical_difference"),
    "scores": _scores,
    "selection": lambda results: results.table("selection"),
    "work": _work,
}
"""Input of `analysis.figures.paper` to the function that reads it."""
