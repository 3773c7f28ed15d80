"""End-task accuracy under pruning: every question, pruner and budget, answered by the real model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import joblib
import pandas as pd

from analysis.models import Vlm
from analysis.pruning.pruner import Keep
from solvers.progress import progress_bar

from .settings import Pruners, Setting, settings_of
from .sharding import Part, Reader, Shard, Source, in_processes
from .sharding import binding as binding
from .store import ResultStore
from .tasks import AbstractTask
from .tasks import task as task_named

IMAGES_PER_PART = 16


def evaluate(
    vlm: Vlm,
    task: AbstractTask | str,
    pruners: Pruners,
    keeps: Sequence[Keep] = (192, 128, 64, 32),
    *,
    store: Path | str | None = None,
    seeds: Sequence[int] = (0,),
    position_ids: str | None = None,
    tiles: str = "each",
    separators: str = "drop",
    images: int | None = None,
    max_new_tokens: int = 16,
    n_jobs: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Answer a task's questions with the stock model and under every pruner, budget and seed.

    The answers are those of `model.generate(do_sample=False)` inside `prune(...)`. LLaVA-1.5 and what shares its code
    sees every image as one picture: it is encoded once for all settings, and its questions share their prompt prefix
    wherever they keep the same tokens. In other families, and for pruners that work inside the model, `generate` itself
    answers batches of prompts.

    Parameters
    ----------
    vlm
        The model.
    task
        A benchmark or its name.
    pruners
        Pruners, or names out of `PRUNERS`, or one of them; their names must differ. A dict gives names of your own, to
        tell apart one method with several hyper-parameters: ``{"half": VisPruner(), "all": VisPruner(1.0)}``. The stock
        model is always evaluated too, as pruner "none" with all tokens.
    keeps
        Budgets, as `prune` takes them: numbers of visual tokens per image, or shares of them in (0, 1). Where all
        images have as many tokens, a share is the number that it comes to. Where they differ, budgets must be of one
        kind, and an image that has no more tokens than a number keeps all of them, which `kept` shows.
    store
        Folder for finished parts, `IMAGES_PER_PART` images of one setting each. Run again with the same store, an
        evaluation (killed, or with more images, pruners or budgets) computes only what is missing. It is bound to the
        weights, the prompt template, the task's data and `max_new_tokens`. None keeps everything in memory.
    seeds
        Seeds for pruners that draw; the others repeat theirs, at no cost where images are encoded once.
    position_ids
        "keep" or "compact", see `analysis.pruning.inputs.PositionPolicy`; None takes each method's own.
    tiles, separators
        As `prune` takes them: whether the pictures that an image is cut into are pruned one by one or as one, and what
        becomes of placeholders that show nothing. Of no effect where an image is one picture without any.
    images
        Use only this many images of the task, from its start.
    max_new_tokens
        Longest answer, in tokens.
    n_jobs
        Processes, as in joblib; each loads the model once from where `vlm` was loaded, on the same device, and computes
        with one thread. None means one, or what an enclosing `joblib.parallel_config` says: under
        ``parallel_config(backend="dask")`` the workers of a `distributed` cluster answer, which must see model, data
        and store, and may die on the way. 1 stays in this process in any case. The rows do not depend on it.
    progress
        Show a bar on standard error.

    Returns
    -------
    pandas.DataFrame
        A row per question and setting: model, pruner, keep (budget; of the stock model n, or 1, a share, where images
        differ in n), kept (tokens in the last layer that attends to any, separators included), visual_tokens (mean over
        layers), tokens_by_layer (such as "2x576 4x64"), position_ids, tiles, separators, seed, image_id, question_id,
        task, question, answer, prediction, correct (or what `task.marks` has in its place, such as score), n_visual (n,
        visual tokens of the image that budgets count), n_text (text tokens of the prompt), flops (vision tower,
        projector and prefill, see `cost`) and kv_bytes (both NaN for families that `cost` does not count), select_ms
        (wall time of the selection, once per image where the pruner ignores the question, what questions and budgets
        share counted for the first of them; NaN where `generate` answers), and the columns of `solvers.provenance`, as
        they were when the row was computed.

    Raises
    ------
    KeyError
        For an unknown task, pruner or position policy; the nearest name is suggested.
    ValueError
        For a budget outside [1, n], numbers and shares together where images differ in n, no budget or seed, pruners
        of equal name or that the family cannot have, too many images, ground truth stated for another grid than the
        model's, a store that was made for something else, or several processes for a model that only this one has.
    RuntimeError
        If a process does not load what the caller has: the model was changed since.
    TypeError
        For a pruner that is none, or that holds parameters which are not fields of its dataclass: a store could not
        tell them apart.
    """
    benchmark = task_named(task) if isinstance(task, str) else task
    total = len(benchmark)
    if images is not None and not 1 <= images <= total:
        raise ValueError(f"`images` must be in [1, {total}], the images of task {benchmark.name!r}, got {images}")
    settings = settings_of(vlm, benchmark, pruners, keeps, seeds, position_ids, tiles=tiles, separators=separators)
    results = ResultStore(store, binding(vlm, benchmark) | {"max_new_tokens": max_new_tokens})
    jobs = 1 if n_jobs == 1 else joblib.effective_n_jobs(n_jobs)
    total = images or total
    starts = range(0, total, IMAGES_PER_PART)
    spans = [(start, min(start + IMAGES_PER_PART, total)) for start in starts]
    names = [setting.part(*span) for setting in settings for span in spans]
    shards = _shards(settings, spans, results, jobs)
    if jobs == 1 or not shards:
        finished = _here(vlm, benchmark, shards, max_new_tokens)
    else:
        source = Source.of(vlm, benchmark, max_new_tokens, results.folder)
        finished = _elsewhere(source, shards, jobs)
    with progress_bar(progress) as bar:
        missing = sum((shard.stop - shard.start) * len(shard.settings) for shard in shards)
        job = bar.add_task("evaluating", total=total * len(settings), completed=total * len(settings) - missing)
        for (name, rows), count in finished:
            if rows is not None:
                results.put(name, rows)
            bar.advance(job, count)
    return _completed(results.read(names), vlm)


def _shards(
    settings: Sequence[Setting], spans: Sequence[tuple[int, int]], results: ResultStore, jobs: int
) -> list[Shard]:
    """What is missing, by runs of images; few runs are divided further by settings, so that no process is idle."""
    groups = -(-2 * jobs // len(spans)) if jobs > 1 else 1
    size = -(-len(settings) // groups)
    found = []
    for span in spans:
        missing = [setting for setting in settings if setting.part(*span) not in results]
        found += [Shard(*span, tuple(missing[first : first + size])) for first in range(0, len(missing), size)]
    return found


def _here(vlm: Vlm, task: AbstractTask, shards: Sequence[Shard], longest: int) -> Iterator[tuple[Part, int]]:
    """Every part as soon as it is finished, with its number of images."""
    reader = Reader(task)
    for shard in shards:
        for part in shard.parts(vlm, task, reader.read(shard.start, shard.stop), longest):
            yield part, shard.stop - shard.start


def _elsewhere(source: Source, shards: Sequence[Shard], jobs: int) -> Iterator[tuple[Part, int]]:
    for shard, parts in in_processes(source, shards, jobs):
        for part in parts:
            yield part, shard.stop - shard.start


def _completed(rows: pd.DataFrame, vlm: Vlm) -> pd.DataFrame:
    """Rows under the model's present name, one model being one whatever its folder was called when a part was stored,
    and with the columns that parts of earlier releases lack: their images all had as many tokens, and were pruned as is
    the default now."""
    names = [name for name in rows.columns if name not in {"n_visual", "tiles", "separators"}]
    names.insert(names.index("n_text"), "n_visual")
    at = names.index("seed")
    complete = rows.reindex(columns=[*names[:at], "tiles", "separators", *names[at:]]).assign(model=vlm.id)
    if complete["n_visual"].isna().any():
        complete["n_visual"] = complete["n_visual"].fillna(vlm.adapter.tokens(vlm.model)).astype("int64")
    return complete.fillna({"tiles": "each", "separators": "drop"})
