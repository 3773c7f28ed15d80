"""Results on disk, one file per setting and run of images: a killed evaluation goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from solvers.files import replacing

BINDING = "binding.json"


class ResultStore:
    """Parts of a result table by name, in a folder or (folder None) in memory.

    A part appears under its name in one step, so that a process killed at any moment leaves whole parts only. The
    folder belongs to what it was made for and refuses anything else.

    Parameters
    ----------
    folder
        Created if missing.
    binding
        What all parts have in common: model, task, generation settings.

    Raises
    ------
    ValueError
        If the folder is bound to something else, or is not a store.
    NotADirectoryError
        If it is a file.
    """

    def __init__(self, folder: Path | str | None, binding: Mapping[str, str | int]) -> None:
        self.folder = Path(folder) if folder is not None else None
        self._memory: dict[str, pd.DataFrame] = {}
        if self.folder is not None:
            self._bind(self.folder, dict(binding))

    def __contains__(self, name: str) -> bool:
        return name in self._memory if self.folder is None else self._path(name).is_file()

    def put(self, name: str, part: pd.DataFrame) -> None:
        """Keep a part; on disk it is there entirely or not at all."""
        if self.folder is None:
            self._memory[name] = part
            return
        with replacing(self._path(name)) as unfinished:
            part.to_parquet(unfinished, index=False)

    def read(self, names: Sequence[str]) -> pd.DataFrame:
        """The named parts as one table, in that order.

        Raises
        ------
        OSError
            If a part cannot be read; deleting its file has it computed again.
        """
        if self.folder is None:
            return pd.concat([self._memory[name] for name in names], ignore_index=True)
        # Put together as Arrow tables: thousands of small frames take longer to make than to read.
        parts = [self._load(name) for name in names]
        try:
            whole: pd.DataFrame = pa.concat_tables(parts, promote_options="permissive").to_pandas()
        except (pa.ArrowInvalid, pa.ArrowTypeError):  # columns of several types, which only pandas holds together
            whole = pd.concat([part.to_pandas() for part in parts], ignore_index=True)
        return whole

    def _load(self, name: str) -> pa.Table:
        path = self._path(name)
        try:
            with parquet.ParquetFile(path) as file:
                return file.read(use_threads=False)  # a part is small: starting threads takes longer
        except (pa.ArrowException, OSError) as error:
            raise OSError(f"{path} cannot be read ({error}); delete it to have it computed again") from error

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.parquet"

    @staticmethod
    def _bind(folder: Path, binding: dict[str, str | int]) -> None:
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"`store` must be a folder, got the file {folder}")
        file = folder / BINDING
        if not file.exists():
            # a process killed while it wrote the binding leaves a hidden file
            if folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
                raise ValueError(f"{folder} is not empty and not a result store: it has no {BINDING}")
            with replacing(file) as unfinished:
                unfinished.write_text(json.dumps(binding, indent=1))
            return
        try:
            found = json.loads(file.read_text())
        except ValueError as error:
            raise ValueError(f"{file} is damaged: {error}") from error
        for key, value in binding.items():
            if found.get(key) != value:
                raise ValueError(
                    f"the store {folder} was made for {key} {found.get(key)!r}, this evaluation has {value!r}: "
                    "give it another folder"
                )
