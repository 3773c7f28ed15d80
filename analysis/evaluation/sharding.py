"""Shards of an evaluation, here or in processes that each load the model once."""

from __future__ import annotations

import functools
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, is_dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import torch
from joblib.externals.loky import get_reusable_executor
from joblib.parallel import LokyBackend

from analysis.models import Vlm, fingerprint, load
from solvers.provenance import code_digest

from .chunk import Chunk
from .settings import Setting
from .store import ResultStore
from .tasks import AbstractTask, Sample

Part = tuple[str, pd.DataFrame | None]
"""Name of a finished part, and its rows unless they are in the store."""


@dataclass(frozen=True)
class Shard:
    """Images `start` to `stop` of a task under some settings."""

    start: int
    stop: int
    settings: tuple[Setting, ...]

    def parts(self, vlm: Vlm, task: AbstractTask, samples: Sequence[Sample], longest: int) -> Iterator[Part]:
        """The parts one by one; answers have at most `longest` tokens."""
        chunk = Chunk(vlm, task, samples, self.settings, longest)
        for setting in self.settings:
            yield setting.part(self.start, self.stop), chunk.run(setting)


class Reader:
    """Samples of a task by their places, best ascending: going back reads all from the first."""

    def __init__(self, task: AbstractTask) -> None:
        self._task, self._next, self._samples = task, 0, iter(task)
        self._latest: tuple[tuple[int, int], list[Sample]] = ((0, 0), [])

    def read(self, start: int, stop: int) -> list[Sample]:
        """Samples `start` to `stop`."""
        if self._latest[0] != (start, stop):
            if start < self._next:
                self._next, self._samples = 0, iter(self._task)
            found = list(islice(self._samples, start - self._next, stop - self._next))
            self._next, self._latest = stop, ((start, stop), found)
        return self._latest[1]


def binding(vlm: Vlm, task: AbstractTask) -> dict[str, str | int]:
    """What answers depend on besides the settings of a run: a store that was bound to something else is refused."""
    return {
        "model configuration": vlm.config_hash,
        "model weights": fingerprint(vlm.model),
        "prompt": vlm.prompt("question"),
        "task": task.label,
        "task checksum": task.checksum,
    }


@dataclass(frozen=True)
class Source:
    """What a process opens once for all shards of a call, which `token` names."""

    token: str
    path: str = field(compare=False)
    revision: str | None = field(compare=False)
    id: str = field(compare=False)
    device: str = field(compare=False)
    dtype: torch.dtype = field(compare=False)
    task: AbstractTask = field(compare=False)
    max_new_tokens: int = field(compare=False)
    store: str | None = field(compare=False)
    state: Mapping[str, Any] = field(compare=False)
    code: str = field(compare=False)

    @classmethod
    def of(cls, vlm: Vlm, task: AbstractTask, max_new_tokens: int, store: Path | None) -> Source:
        """Where others find this model and task.

        Raises
        ------
        ValueError
            If the model is in the memory of this process only.
        """
        folder = Path(vlm.id)
        if not folder.is_dir() and vlm.revision is None:
            raise ValueError(
                f"`n_jobs` must be 1 for a model that other processes cannot load, got {vlm.id!r}: save model and "
                "processor into a folder with `save_pretrained`, and `load` that"
            )
        return cls(
            token=uuid.uuid4().hex,
            path=str(folder.resolve()) if folder.is_dir() else vlm.id,
            revision=vlm.revision,
            id=vlm.id,
            device=str(vlm.device),
            dtype=vlm.model.dtype,
            # A copy without what it has read so far, which need not travel.
            task=replace(task) if is_dataclass(task) else task,
            max_new_tokens=max_new_tokens,
            store=None if store is None else str(store.resolve()),
            state=_state(vlm, task),
            code=code_digest(),
        )


def in_processes(source: Source, shards: Sequence[Shard], jobs: int) -> Iterator[tuple[Shard, list[Part]]]:
    """The shards in their order, each with its finished parts."""
    _start_afresh()
    with _one_thread_each():
        run = joblib.Parallel(n_jobs=jobs, return_as="generator")
        yield from zip(shards, run(joblib.delayed(_run)(source, shard) for shard in shards), strict=True)


def _start_afresh() -> None:
    """End the processes that joblib kept of earlier calls, if it is to start processes.

    One that did small things before it loads a model looks to joblib like a memory leak: it is replaced, with a warning
    that means nothing to the caller and, where warnings are errors, ends the thread that waits for the results.
    """
    backend, _ = joblib.parallel.get_active_backend()
    if isinstance(backend, LokyBackend):
        get_reusable_executor().shutdown(wait=True)


def _one_thread_each() -> AbstractContextManager[Any]:
    """Processes that joblib starts compute with one thread; those of a cluster are somebody else's."""
    backend, _ = joblib.parallel.get_active_backend()
    if not backend.supports_inner_max_num_threads:
        return nullcontext()
    config: AbstractContextManager[Any] = joblib.parallel_config(backend, inner_max_num_threads=1)
    return config


_TURN = threading.Lock()  # a model can be pruned in one way at a time, and workers may have several threads


def _run(source: Source, shard: Shard) -> list[Part]:
    with _TURN, _one_torch_thread():
        opened = _open(source)
        done: list[Part] = []
        samples = opened.reader.read(shard.start, shard.stop)
        for name, rows in shard.parts(opened.vlm, opened.task, samples, source.max_new_tokens):
            if rows is not None and opened.store is not None:
                opened.store.put(name, rows)
            done.append((name, rows if opened.store is None else None))
        return done


@dataclass(frozen=True, eq=False)
class _Opened:
    vlm: Vlm
    task: AbstractTask
    reader: Reader
    store: ResultStore | None


@functools.lru_cache(maxsize=1)
def _open(source: Source) -> _Opened:
    """What `source` says, loaded in this process.

    Raises
    ------
    RuntimeError
        If it is not what the caller has.
    """
    if code_digest() != source.code:
        raise RuntimeError(
            f"this worker runs the code {code_digest()}, and the caller {source.code}: install one version"
        )
    loaded = load(source.path, device=source.device, dtype=source.dtype, revision=source.revision)
    vlm = replace(loaded, id=source.id)
    state = _state(vlm, source.task)
    for name, value in source.state.items():
        if state[name] != value:
            raise RuntimeError(
                f"a process that loaded {source.id!r} has {name} {state[name]!r}, and the caller {value!r}: save the "
                "changed model, or use `n_jobs` 1"
            )
    store = None if source.store is None else ResultStore(source.store, {})
    return _Opened(vlm, source.task, Reader(source.task), store)


def _state(vlm: Vlm, task: AbstractTask) -> dict[str, Any]:
    """What answers depend on, as far as it can be changed after loading."""
    model: Any = vlm.model
    return {
        **binding(vlm, task),
        "attention": model.config.get_text_config()._attn_implementation,
        "generation settings": model.generation_config.to_diff_dict(),
    }


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
